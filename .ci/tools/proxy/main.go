// Proxy writes the modules of a source tree as a module proxy in a directory, in
// the form that they have once the tree is tagged:
//
//	go run ./proxy -version v0.1.0 -dir /tmp/proxy -source /tmp/source
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// root is the path of the repository's root module.
const root = "github.com/flyext/flyext"

// modules are the directories of the published modules, in the order of
// docs/releasing.md.
var modules = []string{"", "internal/browsertest", "stores/redis", "stores/sql", "cmd/flysim"}

func main() {
	log.SetFlags(0)
	version := flag.String("version", "", "`version` of all modules")
	dir := flag.String("dir", "", "`directory` of the proxy")
	source := flag.String("source", "", "root `directory` of the source tree")
	flag.Parse()
	for _, subdir := range modules {
		m := module.Version{Path: path.Join(root, subdir), Version: *version}
		if err := publish(*dir, m, filepath.Join(*source, subdir)); err != nil {
			log.Fatalf("%s: %v", m, err)
		}
		fmt.Println(m)
	}
}

// publish writes the files of a module. Their layout is that of
// https://go.dev/ref/mod#goproxy-protocol.
func publish(dir string, m module.Version, source string) error {
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	base := filepath.Join(dir, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": m.Version, "Time": time.Unix(0, 0).UTC()})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list": []byte(m.Version + "\n"), m.Version + ".mod": mod, m.Version + ".info": info,
	} {
		if err := os.WriteFile(filepath.Join(base, name), content, 0o644); err != nil {
			return err
		}
	}
	file, err := os.Create(filepath.Join(base, m.Version+".zip"))
	if err != nil {
		return err
	}
	if err := zip.CreateFromDir(file, m, source); err != nil {
		return err
	}
	return file.Close()
}
