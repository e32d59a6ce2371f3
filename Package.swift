// swift-tools-version: 6.2
import PackageDescription

/// Every target: Swift 6 mode, no silent existentials, imports that say where names come from.
let common: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableExperimentalFeature("Lifetimes"),
    .treatAllWarnings(as: .error),
    // A request crosses several rooms; without these two the calls between modules cost five
    // times the work itself. Debug and test builds keep the dynamic exclusivity checks.
    .unsafeFlags(
        ["-cross-module-optimization", "-enforce-exclusivity=unchecked"],
        .when(configuration: .release)),
]

/// Relative relocations in a bitmap instead of a table: a megabyte less to read at each start.
let compact: [LinkerSetting] = [
    .unsafeFlags(
        ["-use-ld=lld", "-Xlinker", "-z", "-Xlinker", "pack-relative-relocs"],
        .when(configuration: .release))
]

let package = Package(
    name: "Aviary",
    products: [
        .executable(name: "zkServer", targets: ["zkServer"]),
        .executable(name: "zkBench", targets: ["zkBench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    ],
    targets: [
        // C libraries
        .target(
            name: "CUV", path: "CLibs/CUV",
            linkerSettings: [.linkedLibrary("uv")]),
        .systemLibrary(
            name: "CZlib", path: "CLibs/CZlib", pkgConfig: "zlib",
            providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(
            name: "CDeflate", path: "CLibs/CDeflate", pkgConfig: "libdeflate",
            providers: [.apt(["libdeflate-dev"])]),
        .systemLibrary(
            name: "COpenSSL", path: "CLibs/COpenSSL", pkgConfig: "libcrypto",
            providers: [.apt(["libssl-dev"])]),
        .target(name: "CStorage", path: "CLibs/CStorage"),
        .target(name: "CProcess", path: "CLibs/CProcess"),
        .systemLibrary(
            name: "CSnappy", path: "CLibs/CSnappy", providers: [.apt(["libsnappy-dev"])]),

        // Vocabulary
        .target(name: "Vocabulary", swiftSettings: common),

        // Formats
        .target(name: "Jute", dependencies: ["Vocabulary"], swiftSettings: common),
        .target(
            name: "ClientProtocol", dependencies: ["Vocabulary", "Jute"], swiftSettings: common),
        .target(name: "Transactions", dependencies: ["Vocabulary", "Jute"], swiftSettings: common),
        .target(
            name: "QuorumProtocol", dependencies: ["Vocabulary", "Jute"], swiftSettings: common),
        .target(
            name: "StorageFormat",
            dependencies: ["Vocabulary", "Jute", "Transactions", "CDeflate"],
            swiftSettings: common),
        .target(
            name: "Configuration", dependencies: ["Vocabulary", "QuorumProtocol"],
            swiftSettings: common),

        // Core
        .target(
            name: "Znodes",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "StorageFormat",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: common),
        .target(
            name: "Zab",
            dependencies: [
                "Vocabulary", .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: common),

        // Devices
        .target(name: "EventLoop", dependencies: ["CUV", "Jute"], swiftSettings: common),
        .target(
            name: "Storage",
            dependencies: [
                "Vocabulary", "Jute", "StorageFormat", "CStorage", "CZlib", "CSnappy",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: common),

        // The core of a server
        .target(
            name: "Ensemble",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "QuorumProtocol",
                "StorageFormat", "Znodes", "Zab",
                .product(name: "DequeModule", package: "swift-collections"),
            ],
            swiftSettings: common),

        // Shell
        .target(
            name: "Server",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "StorageFormat",
                "Configuration", "QuorumProtocol", "Znodes", "Zab", "Ensemble", "EventLoop",
                "Storage", "COpenSSL", "CProcess",
                .product(name: "Logging", package: "swift-log"),
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: common),

        // Proving ground
        .target(
            name: "Simulation",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "QuorumProtocol",
                "StorageFormat", "Znodes", "Zab", "Ensemble",
            ],
            swiftSettings: common),
        .executableTarget(
            name: "zkSimulate",
            dependencies: [
                "Simulation", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common),

        // Edge
        .executableTarget(
            name: "zkServer",
            dependencies: [
                "Server", "Configuration",
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: common, linkerSettings: compact),
        .executableTarget(
            name: "zkBench",
            dependencies: [
                "EventLoop", "Jute", "ClientProtocol", "Vocabulary",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common),
        .target(
            name: "StorageTestSupport",
            dependencies: [
                "Vocabulary", "Jute", "StorageFormat",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            path: "Tests/StorageTestSupport", swiftSettings: common),
        .testTarget(
            name: "StorageFormatTests",
            dependencies: ["Vocabulary", "Jute", "StorageFormat", "StorageTestSupport"],
            swiftSettings: common),
        .testTarget(
            name: "StorageTests",
            dependencies: [
                "Vocabulary", "Jute", "StorageFormat", "Storage", "StorageTestSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: ["Vocabulary", "QuorumProtocol", "Configuration"],
            swiftSettings: common),
        .testTarget(
            name: "BenchTests",
            dependencies: [
                "zkBench", "Jute",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "EventLoopTests", dependencies: ["EventLoop", "Jute"], swiftSettings: common),
        .target(
            name: "UnitTestSupport", dependencies: ["Vocabulary", "Jute"],
            path: "Tests/UnitTestSupport", swiftSettings: common),
        .testTarget(
            name: "JuteTests", dependencies: ["Vocabulary", "Jute", "UnitTestSupport"],
            swiftSettings: common),
        .testTarget(
            name: "ClientProtocolTests",
            dependencies: ["Vocabulary", "Jute", "ClientProtocol", "UnitTestSupport"],
            swiftSettings: common),
        .testTarget(
            name: "TransactionsTests",
            dependencies: [
                "Vocabulary", "Jute", "Transactions", "StorageFormat", "StorageTestSupport",
                "UnitTestSupport",
            ],
            swiftSettings: common),
        .testTarget(
            name: "QuorumProtocolTests",
            dependencies: [
                "Vocabulary", "Jute", "Transactions", "QuorumProtocol", "UnitTestSupport",
            ],
            swiftSettings: common),
        .testTarget(
            name: "ZnodesTests",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "StorageFormat", "Storage",
                "Znodes", "StorageTestSupport", "UnitTestSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "ZabTests", dependencies: ["Vocabulary", "Zab", "UnitTestSupport"],
            swiftSettings: common),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation"], swiftSettings: common),
        .testTarget(
            name: "EnsembleTests",
            dependencies: [
                "Vocabulary", "Jute", "Transactions", "QuorumProtocol", "StorageFormat", "Znodes",
                "Zab", "Ensemble", "UnitTestSupport",
            ],
            swiftSettings: common),
        .testTarget(
            name: "ServerTests",
            dependencies: [
                "Vocabulary", "Jute", "Transactions", "StorageFormat", "Configuration", "Ensemble",
                "Server", "UnitTestSupport", .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: common),
        .testTarget(
            name: "FuzzTests",
            dependencies: [
                "Vocabulary", "Jute", "ClientProtocol", "Transactions", "StorageFormat", "Storage",
                "Znodes", "StorageTestSupport", "UnitTestSupport",
                .product(name: "SystemPackage", package: "swift-system"),
            ],
            swiftSettings: common),
    ]
)
