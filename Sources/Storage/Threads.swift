import CStorage
import Glibc

/// A mutex and its condition: what a thread waits at.
final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(condition, nil)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    func locked<Result: ~Copyable>(_ body: () -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body()
    }

    /// Only inside `locked`. Returns for no reason, too: ask again for the condition.
    func wait() { pthread_cond_wait(condition, mutex) }

    func signal() { pthread_cond_signal(condition) }
}

/// A running thread, to be joined once.
struct Thread: ~Copyable {
    private let id: pthread_t

    /// - Parameters:
    ///   - name: at most 15 characters, as the kernel keeps them.
    ///   - body: what runs on the thread.
    init(name: StaticString, _ body: @escaping @Sendable () -> Void) {
        let start = Start(name: name, body: body)
        var id = pthread_t()
        let result = pthread_create(
            &id, nil,
            { argument in
                guard let argument else { preconditionFailure("a thread starts with its body") }
                Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(start).toOpaque())
        precondition(result == 0, "a server that cannot start its threads cannot serve")
        self.id = id
    }

    consuming func join() {
        pthread_join(id, nil)
    }

    private final class Start {
        private let name: StaticString
        private let body: @Sendable () -> Void

        init(name: StaticString, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }

        func run() {
            // Signals belong to the loop's thread; here they would only interrupt calls.
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_BLOCK, &all, nil)
            name.withUTF8Buffer { text in
                text.withMemoryRebound(to: CChar.self) { cstorage_name_thread($0.baseAddress) }
            }
            body()
        }
    }

    /// Lets every other thread of the machine go first, or no longer; for the calling thread only.
    static func setCurrentIsIdle(_ isIdle: Bool) {
        cstorage_idle_thread(isIdle ? 1 : 0)
    }
}
