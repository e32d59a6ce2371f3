internal import COpenSSL
import Vocabulary

/// Turns what an auth packet brings into identities.
///
/// Source: ZooKeeper, `DigestAuthenticationProvider`, `IPAuthenticationProvider`.
struct Authentication {
    /// OpenSSL's name of the hash: `SHA1` unless configured otherwise.
    var digestAlgorithm: String
    var isDigestEnabled: Bool
    /// `super:` and the hash of a password; whoever knows it passes every list.
    var superDigest: String?

    /// The identities that the packet proves; nil when it proves nothing.
    func identities(scheme: String, auth: [UInt8]?) -> [Identity]? {
        switch scheme {
        // Every connection has its address already.
        case "ip": return []
        case "digest":
            guard isDigestEnabled, let auth, let id = digestID(auth) else { return nil }
            let identity = Identity(scheme: "digest", id: id)
            guard id == superDigest else { return [identity] }
            return [identity, Identity(scheme: "super", id: "")]
        default: return nil
        }
    }

    /// `user:` and the hash of all of `user:password`, in base 64.
    func digestID(_ auth: [UInt8]) -> String? {
        guard let hash = hash(auth) else { return nil }
        let user = auth.firstIndex(of: 0x3a).map { auth[..<$0] } ?? auth[...]
        return String(decoding: user, as: UTF8.self) + ":" + Self.base64(hash)
    }

    private func hash(_ bytes: [UInt8]) -> [UInt8]? {
        guard let algorithm = EVP_get_digestbyname(digestAlgorithm) else { return nil }
        var hash = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var length: UInt32 = 0
        guard EVP_Digest(bytes, bytes.count, &hash, &length, algorithm, nil) == 1 else {
            return nil
        }
        return Array(hash.prefix(Int(length)))
    }

    private static func base64(_ bytes: [UInt8]) -> String {
        var text = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
        let count = EVP_EncodeBlock(&text, bytes, Int32(bytes.count))
        return String(decoding: text.prefix(Int(count)), as: UTF8.self)
    }
}
