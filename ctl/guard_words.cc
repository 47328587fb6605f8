#include "ctl/guard_words.h"

#include "common/path.h"

namespace backup {

namespace {

bool is_change(const Dict& question) {
    return question.text("kind") == "mass-change";
}

std::string clean_text(const Dict& question) {
    return "revision " + std::to_string(question.number("clean-number"));
}

}  // namespace

std::string question_sentence(const Dict& question, const Context& context) {
    if (question.text("kind") == "foreign-writer")
        return printable(question.text("message")) + " (" +
               age_text(from_usec(question.number("since")), context.now()) +
               "): a cloned machine, or a state that was brought back. If two machines write it, "
               "give one of them another name (set edit SET --hostname NAME); then approve";
    std::string text = printable(question.text("message")) + " (" +
                       age_text(from_usec(question.number("since")), context.now()) + ")";
    if (question.text("answer") == "rejected")
        text += is_change(question) ? ": rejected; restore " + clean_text(question) +
                                          ", then approve: until then no revision is made"
                                    : ": rejected; no revision is made until it is back";
    else if (question.flag("holds"))
        text += ": no revision is made meanwhile, " + clean_text(question) + " has it all";
    else if (is_change(question))
        text += ": " + clean_text(question) + " from before it is kept";
    return text;
}

std::string consequence(const Dict& question, bool approves) {
    if (question.text("kind") == "foreign-writer")
        return approves ? "Approved: these revisions belong to this set."
                        : "Rejected: nothing changes; the question stays until it is approved.";
    if (!is_change(question))
        return approves ? "Approved: the next revision is made of what is there now."
                        : "Rejected: no revision is made until it is back.";
    if (!approves)
        return "Rejected: revisions after " + clean_text(question) +
               " go to the trash, none is made until this set is approved.";
    if (question.text("answer") == "rejected")
        return "Approved: revisions are made again; " + clean_text(question) +
               " stays pinned until it is unpinned.";
    return "Approved: " + clean_text(question) + " is kept by the rules of the set again.";
}

JsonObject question_object(const Context& context, const Dict& question) {
    JsonObject object;
    object.add("kind", question.text("kind"))
        .add("answer", question.text("answer"))
        .add("message", question.text("message"))
        .add("holds", question.flag("holds"));
    context.add_time(object, "since", question.number("since"));
    object.add("job", question.number("job"))
        .add("clean_revision", question.text("clean-revision"))
        .add("clean_number", question.number("clean-number"))
        .add("pinned", question.flag("pinned"));
    return object;
}

JsonObject guard_object(const Context& context, JsonObject object, const std::string& set,
                        const std::vector<Dict>& questions) {
    std::vector<JsonObject> list;
    for (const Dict& question : questions) list.push_back(question_object(context, question));
    object.add("set", set).add("questions", list);
    return object;
}

}  // namespace backup
