#include "daemon/writer/order.h"

#include "daemon/repository/tree_encoder.h"

namespace backup::writer {

namespace {

Error unreadable() {
    return {ErrorKind::io, "a frame between the daemon and a writer cannot be read"};
}

void put_time(Packer& packer, Timestamp time) {
    packer.number(static_cast<std::uint64_t>(time.time_since_epoch().count()));
}
Timestamp take_time(Unpacker& from) {
    return Timestamp(Duration(static_cast<std::int64_t>(from.number())));
}

// A node as a tree that has it alone; the root of a revision, which has no name, by its tree.
Result<> put_node(Packer& packer, const Node& node, TreeEncoder& encoder) {
    packer.flag(node.name.empty());
    if (node.name.empty()) {
        packer.text(node.subtree ? as_text(node.subtree->bytes) : std::string_view());
        return {};
    }
    packer.bytes(TRY(encode_tree({&node, 1}, encoder)));
    return {};
}

Result<Node> take_node(Unpacker& from) {
    const bool is_root = from.flag();
    const std::string_view bytes = from.view();
    if (!from.good()) return unreadable();
    if (is_root) {
        Node root;
        root.type = NodeType::dir;
        BlobId id;
        if (bytes.size() != id.bytes.size()) return unreadable();
        std::copy(bytes.begin(), bytes.end(), id.bytes.begin());
        root.subtree = id;
        return root;
    }
    std::vector<Node> nodes = TRY(decode_tree(as_bytes(bytes)));
    if (nodes.size() != 1) return unreadable();
    return std::move(nodes.front());
}

void put_numbers(Packer& packer, const std::vector<std::uint32_t>& numbers) {
    packer.number(numbers.size());
    for (const std::uint32_t number : numbers) packer.number(number);
}
std::vector<std::uint32_t> take_numbers(Unpacker& from) {
    std::vector<std::uint32_t> numbers;
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left)
        numbers.push_back(static_cast<std::uint32_t>(from.number()));
    return numbers;
}

// Every number of the counts, in one order for both ways.
template <typename Counts, typename Each>
void each_count(Counts& counts, Each each) {
    for (auto* count : {&counts.created,       &counts.replaced,       &counts.kept_both,
                        &counts.skipped,       &counts.unchanged,      &counts.deleted,
                        &counts.spared,        &counts.set_aside,      &counts.failed,
                        &counts.files,         &counts.directories,    &counts.others,
                        &counts.bytes,         &counts.bytes_fetched,  &counts.bytes_resumed,
                        &counts.bytes_created, &counts.bytes_replaced, &counts.bytes_deleted,
                        &counts.space_needed,  &counts.space_free})
        each(*count);
}

}  // namespace

std::string pack_person(const Person& person) {
    Packer packer;
    packer.number(person.caller.uid).number(person.primary_gid);
    put_numbers(packer, person.caller.gids);
    return packer.data();
}

Result<Person> unpack_person(std::string_view payload) {
    Unpacker from(payload);
    Person person;
    person.caller.uid = static_cast<std::uint32_t>(from.number());
    person.primary_gid = static_cast<std::uint32_t>(from.number());
    person.caller.gids = take_numbers(from);
    TRY(from.finish());
    return person;
}

Result<std::string> pack_order(const Order& order) {
    Packer packer;
    packer.number(order.named.uid).text(order.named.user).number(order.named.groups.size());
    for (const auto& [gid, name] : order.named.groups) packer.number(gid).text(name);
    packer.flag(order.sees_all);
    const RestoreRequest& request = order.request;
    packer.text(as_text(request.revision.bytes)).texts(request.paths).text(request.target_path);
    packer.number(static_cast<std::uint64_t>(request.on_conflict)).number(request.threads);
    packer.flag(request.full_paths).flag(request.dry_run).flag(request.verify);
    packer.flag(request.goes_on).flag(request.delete_others).number(request.longest_kept);
    packer.flag(order.has_spares).flag(order.has_protect).flag(order.has_change_log);
    put_time(packer, order.snapshot.time);
    packer.texts(order.snapshot.paths);
    TreeEncoder encoder(go_rules_for("restic 0.16.0"), Zone::utc());
    packer.number(order.selected.size());
    for (const Selected& one : order.selected) {
        packer.text(one.parent_path).number(one.passages.size());
        for (const Node& passage : one.passages) TRY(put_node(packer, passage, encoder));
        TRY(put_node(packer, one.node, encoder));
    }
    return packer.data();
}

Result<Order> unpack_order(std::string_view payload) {
    Unpacker from(payload);
    Order order;
    order.named.uid = static_cast<std::uint32_t>(from.number());
    order.named.user = from.text();
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left) {
        const auto gid = static_cast<std::uint32_t>(from.number());
        order.named.groups.emplace_back(gid, from.text());
    }
    order.sees_all = from.flag();
    RestoreRequest& request = order.request;
    const std::string_view revision = from.view();
    if (revision.size() != request.revision.bytes.size()) return unreadable();
    std::copy(revision.begin(), revision.end(), request.revision.bytes.begin());
    request.paths = from.texts();
    request.target_path = from.text();
    const std::uint64_t mode = from.number();
    if (mode > static_cast<std::uint64_t>(ConflictMode::replace)) return unreadable();
    request.on_conflict = static_cast<ConflictMode>(mode);
    request.threads = static_cast<unsigned>(from.number());
    request.full_paths = from.flag();
    request.dry_run = from.flag();
    request.verify = from.flag();
    request.goes_on = from.flag();
    request.delete_others = from.flag();
    request.longest_kept = from.number();
    order.has_spares = from.flag();
    order.has_protect = from.flag();
    order.has_change_log = from.flag();
    order.snapshot.time = take_time(from);
    order.snapshot.paths = from.texts();
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left) {
        Selected one;
        one.parent_path = from.text();
        for (std::uint64_t passages = from.count(); passages > 0; --passages)
            one.passages.push_back(TRY(take_node(from)));
        one.node = TRY(take_node(from));
        order.selected.push_back(std::move(one));
    }
    TRY(from.finish());
    return order;
}

std::string pack_touched(const std::vector<TouchedObject>& touched) {
    Packer packer;
    packer.number(touched.size());
    for (const TouchedObject& one : touched) packer.text(one.path).flag(one.is_directory);
    return packer.data();
}

Result<std::vector<TouchedObject>> unpack_touched(std::string_view payload) {
    Unpacker from(payload);
    std::vector<TouchedObject> touched;
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left) {
        TouchedObject one;
        one.path = from.text();
        one.is_directory = from.flag();
        touched.push_back(std::move(one));
    }
    TRY(from.finish());
    return touched;
}

std::string pack_unsettled(const Result<Unsettled>& unsettled) {
    Packer packer;
    packer.flag(unsettled.ok());
    if (!unsettled.ok()) {
        packer.error(unsettled.error());
    } else {
        packer.number(unsettled->size());
        for (const std::string& path : *unsettled) packer.text(path);
    }
    return packer.data();
}

Result<Unsettled> unpack_unsettled(std::string_view payload) {
    Unpacker from(payload);
    TRY(from.outcome());
    Unsettled unsettled;
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left)
        unsettled.insert(from.text());
    TRY(from.finish());
    return unsettled;
}

std::string pack_result(const Result<RestoreResult>& result) {
    Packer packer;
    packer.flag(result.ok());
    if (!result.ok()) {
        packer.error(result.error());
        return packer.data();
    }
    each_count(result->counts, [&](const std::uint64_t& count) { packer.number(count); });
    packer.texts(result->conflicts).number(result->conflict_count);
    packer.number(result->steps.size());
    for (const PlannedStep& step : result->steps)
        packer.text(step.action).text(step.path).number(step.bytes);
    packer.texts(result->cannot_hold);
    return packer.data();
}

Result<RestoreResult> unpack_result(std::string_view payload) {
    Unpacker from(payload);
    TRY(from.outcome());
    RestoreResult result;
    each_count(result.counts, [&](std::uint64_t& count) { count = from.number(); });
    result.conflicts = from.texts();
    result.conflict_count = from.number();
    for (std::uint64_t left = from.count(); left > 0 && from.good(); --left) {
        PlannedStep step;
        step.action = from.text();
        step.path = from.text();
        step.bytes = from.number();
        result.steps.push_back(std::move(step));
    }
    result.cannot_hold = from.texts();
    TRY(from.finish());
    return result;
}

std::string pack_progress(const Progress& progress) {
    Packer packer;
    packer.number(static_cast<std::uint64_t>(progress.phase.load()));
    for (const auto* one : {&progress.bytes_done, &progress.bytes_total, &progress.items_done,
                            &progress.items_total, &progress.first_byte_usec})
        packer.number(one->load());
    return packer.data();
}

Result<> unpack_progress(std::string_view payload, Progress& into) {
    Unpacker from(payload);
    const std::uint64_t phase = from.number();
    std::uint64_t numbers[5];
    for (std::uint64_t& number : numbers) number = from.number();
    TRY(from.finish());
    if (phase > static_cast<std::uint64_t>(Phase::finishing)) return unreadable();
    into.phase = static_cast<Phase>(phase);
    std::size_t at = 0;
    for (auto* one : {&into.bytes_done, &into.bytes_total, &into.items_done, &into.items_total,
                      &into.first_byte_usec})
        one->store(numbers[at++]);
    return {};
}

}  // namespace backup::writer
