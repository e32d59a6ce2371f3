import Jute
import StorageFormat
import StorageTestSupport
import Testing
import UnitTestSupport
import Vocabulary
import Znodes

extension FuzzTests {
    private static let snapshots: [[UInt8]] =
        Fixture.all.flatMap { fixture in
            fixture.files("snapshot.").filter { SnapshotFileName($0)?.compression.suffix == "" }
                .map { fixture.bytes($0) }
        }.filter { $0.count < 8000 } + [grown]

    /// One of ours, with something of everything in it.
    private static let grown: [UInt8] = {
        guard let world = try? FuzzWorld(seed: 1) else { return [] }
        var generator = AskGenerator(seed: 5)
        generator.known = ["/", "/a", "/b"]
        for _ in 0..<80 {
            let ask = generator.ask()
            _ = try? world.propose(ask.op, ask.body)
            try? world.applyAll()
        }
        let frozen = world.database.freeze()
        defer { world.database.thaw(frozen) }
        var all: [UInt8] = []
        let sections = SnapshotSections(
            digest: .init(zxid: frozen.zxid, value: frozen.digest), lastProcessedZxid: frozen.zxid)
        _ = frozen.encode(sections: sections) { all += Array($0) }
        return all
    }()

    @Test func `snapshots are restored or refused`() {
        Fuzz.run("snapshots") { random in
            var file = random.pick(Self.snapshots)
            random.mutate(&file, with: random.pick(Self.snapshots))
            let (whole, database) = Self.restore(file, pieceBytesMax: file.count + 1, &random)
            let (pieces, again) = Self.restore(file, pieceBytesMax: 600, &random)
            try Fuzz.require(
                whole == pieces,
                "pieces are read as the whole: \(String(describing: whole)), "
                    + "\(String(describing: pieces))")
            try database.exercise()
            try again.exercise()
            try Fuzz.require(database.digest == again.digest, "equal trees have equal digests")
            // A tree that somebody goes on with, damaged or not.
            let create = RequestBytes.create("/new", data: [1])
            let proposer = Proposer(
                database, tracker: SessionTracker(tickMilliseconds: 2000), options: .init())
            var txn = ByteBuffer()
            let origin = Proposer.Origin(session: .none, cxid: 0, identities: [], time: 0)
            if database.lastProcessedZxid.counter < .max {
                _ = try proposer.propose(.create, body: create.span, from: origin, into: &txn)
                _ = try database.apply(txn.span)
            }
            database.reset()
            try database.exercise()
        }
    }

    /// What was wrong, and the tree, whole or not.
    private static func restore(
        _ file: [UInt8], pieceBytesMax: Int, _ random: inout SeededGenerator
    ) -> (SnapshotDamage?, Database) {
        var database = Database(seed: 3)
        var decoder = SnapshotDecoder(limits: .default)
        var (start, end) = (0, 0)
        do throws(SnapshotDamage) {
            while !decoder.isFinished {
                end = min(file.count, end + 1 + random.below(pieceBytesMax))
                let bytes = file.span.extracting(start..<end)
                // The end is seen once nothing more comes.
                start += try decoder.consume(
                    bytes, isLast: end == file.count, into: &database)
            }
            let digest = decoder.sections.digest.map { (zxid: $0.zxid, value: $0.value) }
            do throws(RestoreError) {
                try database.finishSnapshot(zxid: Zxid(rawValue: 9), digest: digest)
            } catch {
                throw .refused(error)
            }
            return (nil, database)
        } catch {
            return (error, database)
        }
    }
}
