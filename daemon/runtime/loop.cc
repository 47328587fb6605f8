#include "daemon/runtime/loop.h"

#include <cassert>
#include <utility>

#include <uv.h>

namespace backup {

// The libuv handle comes first, so that its address is the State's.
struct LoopHandle::State {
    union {
        uv_handle_t any;
        uv_timer_t timer;
        uv_poll_t poll;
        uv_signal_t signal;
        uv_prepare_t prepare;
    };
    std::function<void()> callback;
    std::function<void(int)> on_events;

    static State* of(void* handle) { return static_cast<State*>(handle); }
};

namespace {

std::uint64_t milliseconds(Duration time) {
    if (time <= Duration::zero()) return 0;
    return static_cast<std::uint64_t>((time.count() + 999'999) / 1'000'000);
}

void close_state(LoopHandle::State* state) {
    uv_close(&state->any, [](uv_handle_t* handle) { delete LoopHandle::State::of(handle); });
}

void on_timer(uv_timer_t* handle) {
    LoopHandle::State::of(handle)->callback();
}
void on_signal_arrived(uv_signal_t* handle, int) {
    LoopHandle::State::of(handle)->callback();
}
void on_prepare(uv_prepare_t* handle) {
    LoopHandle::State::of(handle)->callback();
}

int to_uv(int events) {
    int mask = 0;
    if (events & FdWatch::readable) mask |= UV_READABLE;
    if (events & FdWatch::writable) mask |= UV_WRITABLE;
    if (events & FdWatch::disconnected) mask |= UV_DISCONNECT;
    return mask;
}

void on_poll(uv_poll_t* handle, int status, int uv_events) {
    int events = 0;
    if (status < 0) {
        events = FdWatch::readable | FdWatch::writable | FdWatch::disconnected;
    } else {
        if (uv_events & UV_READABLE) events |= FdWatch::readable;
        if (uv_events & UV_WRITABLE) events |= FdWatch::writable;
        if (uv_events & UV_DISCONNECT) events |= FdWatch::disconnected;
    }
    LoopHandle::State::of(handle)->on_events(events);
}

}  // namespace

LoopHandle::LoopHandle() = default;
LoopHandle::LoopHandle(State* state) : state_(state) {}
LoopHandle::LoopHandle(LoopHandle&& other) noexcept
    : state_(std::exchange(other.state_, nullptr)) {}
LoopHandle& LoopHandle::operator=(LoopHandle&& other) noexcept {
    if (this != &other) {
        reset();
        state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
}
LoopHandle::~LoopHandle() {
    reset();
}

void LoopHandle::reset() {
    if (state_ == nullptr) return;
    close_state(std::exchange(state_, nullptr));
}

void Timer::start(Duration delay, Duration repeat) {
    uv_update_time(state_->any.loop);
    uv_timer_start(&state_->timer, on_timer, milliseconds(delay), milliseconds(repeat));
}
void Timer::stop() {
    if (state_ != nullptr) uv_timer_stop(&state_->timer);
}
bool Timer::is_running() const {
    return state_ != nullptr && uv_is_active(&state_->any) != 0;
}

void FdWatch::set(int events) {
    if (events == none)
        uv_poll_stop(&state_->poll);
    else
        uv_poll_start(&state_->poll, to_uv(events), on_poll);
}

struct Loop::Impl {
    uv_loop_t loop{};
    uv_async_t wake{};
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {
    [[maybe_unused]] int r = uv_loop_init(&impl_->loop);
    assert(r == 0);
    r = uv_async_init(&impl_->loop, &impl_->wake,
                      [](uv_async_t* handle) { static_cast<Loop*>(handle->data)->run_posted(); });
    assert(r == 0);
    impl_->wake.data = this;
}

Loop::~Loop() {
    posted_.clear();
    uv_close(reinterpret_cast<uv_handle_t*>(&impl_->wake), nullptr);
    // Runs the close callbacks of this handle and of all that were reset before.
    uv_run(&impl_->loop, UV_RUN_NOWAIT);
    uv_run(&impl_->loop, UV_RUN_NOWAIT);
    [[maybe_unused]] int r = uv_loop_close(&impl_->loop);
    assert(r == 0 && "a handle outlived its loop");
}

void Loop::run() {
    stopping_ = false;
    run_posted();
    while (!stopping_) uv_run(&impl_->loop, UV_RUN_DEFAULT);
    run_posted();
}

void Loop::stop() {
    post([this] {
        stopping_ = true;
        uv_stop(&impl_->loop);
    });
}

void Loop::post(std::function<void()> task) {
    {
        std::lock_guard lock(mutex_);
        posted_.push_back(std::move(task));
    }
    uv_async_send(&impl_->wake);
}

void Loop::run_posted() {
    std::vector<std::function<void()>> tasks;
    {
        std::lock_guard lock(mutex_);
        tasks.swap(posted_);
    }
    for (auto& task : tasks) {
        task();
        task = nullptr;  // what it captured goes before the next one runs
    }
}

Timer Loop::timer(std::function<void()> callback) {
    auto* state = new LoopHandle::State{};
    uv_timer_init(&impl_->loop, &state->timer);
    state->callback = std::move(callback);
    return Timer(state);
}

Timer Loop::once(Duration delay, std::function<void()> callback) {
    Timer made = timer(std::move(callback));
    made.start(delay);
    return made;
}

Timer Loop::every(Duration period, std::function<void()> callback) {
    Timer made = timer(std::move(callback));
    made.start(period, period);
    return made;
}

Result<FdWatch> Loop::watch(int fd, int events, std::function<void(int)> callback) {
    auto* state = new LoopHandle::State{};
    if (int r = uv_poll_init(&impl_->loop, &state->poll, fd); r < 0) {
        delete state;  // never became a handle
        return Error::from_errno(-r, "watch a descriptor");
    }
    state->on_events = std::move(callback);
    FdWatch made(state);
    made.set(events);
    return made;
}

Result<LoopHandle> Loop::on_signal(int number, std::function<void()> callback) {
    auto* state = new LoopHandle::State{};
    uv_signal_init(&impl_->loop, &state->signal);
    state->callback = std::move(callback);
    LoopHandle made(state);
    if (int r = uv_signal_start(&state->signal, on_signal_arrived, number); r < 0)
        return Error::from_errno(-r, "watch a signal");
    return made;
}

LoopHandle Loop::before_sleep(std::function<void()> callback) {
    auto* state = new LoopHandle::State{};
    uv_prepare_init(&impl_->loop, &state->prepare);
    state->callback = std::move(callback);
    uv_prepare_start(&state->prepare, on_prepare);
    return LoopHandle(state);
}

void Loop::update_time() {
    uv_update_time(&impl_->loop);
}

}  // namespace backup
