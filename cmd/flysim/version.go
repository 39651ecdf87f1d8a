package main

import "runtime/debug"

// version returns what --version shows: the module version that go install
// recorded in the binary, and Go's version. A build without one, such as a test,
// is "(devel)".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version + " " + info.GoVersion
}
