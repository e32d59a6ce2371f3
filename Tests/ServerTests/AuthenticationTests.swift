import Testing
import Vocabulary

@testable import Server

/// ZooKeeper: `DigestAuthenticationProvider.generateDigest`.
@Suite struct `Authentication by digest` {
    private let plain = Authentication(
        digestAlgorithm: "SHA1", isDigestEnabled: true, superDigest: nil)

    @Test func `the hash is that of the whole text, known from Apache's files`() {
        #expect(plain.digestID(Array("bob:pw".utf8)) == "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=")
    }

    @Test func `a text without a colon is a user and a password`() {
        // printf bob | openssl sha1 -binary | base64
        #expect(plain.digestID(Array("bob".utf8)) == "bob:SBgazSKz7a68ikR4aKfffOYpkgo=")
        #expect(plain.digestID([])?.hasPrefix(":") == true)
    }

    @Test func `the first colon ends the user`() {
        #expect(plain.digestID(Array("a:b:c".utf8))?.hasPrefix("a:") == true)
        #expect(plain.digestID(Array(":pw".utf8))?.hasPrefix(":") == true)
    }

    @Test func `the algorithm is the configured one`() {
        let sha256 = Authentication(
            digestAlgorithm: "SHA256", isDigestEnabled: true, superDigest: nil)
        // printf bob:pw | openssl sha256 -binary | base64
        #expect(
            sha256.digestID(Array("bob:pw".utf8))
                == "bob:lXdkgIa9O1CDDWAryQ0pe9wUYi2LkG6M7Uocn/Vyn2g=")
        let unknown = Authentication(
            digestAlgorithm: "no such hash", isDigestEnabled: true, superDigest: nil)
        #expect(unknown.digestID(Array("bob:pw".utf8)) == nil)
        #expect(unknown.identities(scheme: "digest", auth: Array("bob:pw".utf8)) == nil)
    }

    @Test func `who knows the super user's password is somebody and the super user`() throws {
        let secret = Array("super:secret".utf8)
        let id = try #require(plain.digestID(secret))
        #expect(id == "super:lK75jTNcA+U9vtVEw5vB51mj/w4=")
        let known = Authentication(digestAlgorithm: "SHA1", isDigestEnabled: true, superDigest: id)
        let digest = Identity(scheme: "digest", id: id)
        #expect(
            known.identities(scheme: "digest", auth: secret)
                == [digest, Identity(scheme: "super", id: "")])
        #expect(plain.identities(scheme: "digest", auth: secret) == [digest])
        let wrong = known.identities(scheme: "digest", auth: Array("super:wrong".utf8))
        #expect(wrong?.count == 1)
    }

    @Test func `an address proves nothing more, other schemes nothing at all`() {
        #expect(plain.identities(scheme: "ip", auth: nil) == [])
        for scheme in ["world", "auth", "super", "sasl", "x509", "", "Digest"] {
            #expect(plain.identities(scheme: scheme, auth: Array("bob:pw".utf8)) == nil)
        }
        #expect(plain.identities(scheme: "digest", auth: nil) == nil)
        let off = Authentication(digestAlgorithm: "SHA1", isDigestEnabled: false, superDigest: nil)
        #expect(off.identities(scheme: "digest", auth: Array("bob:pw".utf8)) == nil)
    }
}
