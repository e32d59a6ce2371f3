import Jute
import Storage
import StorageTestSupport
import SystemPackage
import Testing
import UnitTestSupport
import Vocabulary
import Znodes

extension FuzzTests {
    private static let folders = Fixture.all.filter { fixture in
        (fixture.files("log.") + fixture.files("snapshot."))
            .allSatisfy { fixture.bytes($0).count < 70_000 }
    }

    /// Whole directories, compressed snapshots among them.
    @Test func `damaged directories are restored or refused`() {
        Fuzz.run("files") { random in
            let fixture = random.pick(Self.folders)
            let scratch = TemporaryDirectory()
            let version = fixture.copy(to: scratch).appending("version-2")
            let names = fixture.files("log.") + fixture.files("snapshot.")
            guard !names.isEmpty else { return }
            for _ in 0..<1 + random.below(2) {
                let name = random.pick(names)
                var file = fixture.bytes(name)
                random.mutate(&file, with: fixture.bytes(random.pick(names)))
                Files.write(file, to: version.appending(name))
            }
            var database = Database(seed: 1)
            do {
                let directories = try DataDirectories(dataDir: version.removingLastComponent())
                let options = RecoveryOptions(trustEmptySnapshot: random.chance(percent: 50))
                _ = try Recovery.restore(directories, options: options, into: &database)
            } catch is StorageError {
                return
            }
            try database.exercise()
            withExtendedLifetime(scratch) {}
        }
    }
}
