package main

import "runtime/debug"

// version returns the module version that go install recorded in the binary, and
// the version of Go. For a build without a module version, such as a test, it
// returns "(devel)".
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version + " " + info.GoVersion
}
