package flyext_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestThreatModel compares SECURITY.md with the code. Each test and subtest that it
// names exists, and each function that it names as a check is in the named file.
func TestThreatModel(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	literals, functions := declared(t)
	tests, checks := 0, 0
	for _, m := range regexp.MustCompile("`((?:Test|Fuzz)[^`/]*)(?:/([^`]+))?`").FindAllStringSubmatch(string(text), -1) {
		tests++
		names, ok := literals[m[1]]
		if !ok {
			t.Errorf("SECURITY.md names %s, but there is no such test", m[1])
		} else if m[2] != "" && !slices.Contains(names, m[2]) {
			t.Errorf("%s has no subtest %q", m[1], m[2])
		}
	}
	for _, m := range regexp.MustCompile("`([\\w/]+\\.go) (\\w+)`").FindAllStringSubmatch(string(text), -1) {
		checks++
		if !slices.Contains(functions[m[1]], m[2]) {
			t.Errorf("%s has no function %s", m[1], m[2])
		}
	}
	if tests < 80 || checks < 50 {
		t.Errorf("found only %d tests and %d checks in SECURITY.md; was its format changed?", tests, checks)
	}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 5 || strings.Contains(line, "---") || cells[3] == " proof " {
			continue
		}
		open := strings.Contains(cells[2], "see below") || strings.Contains(cells[2], "nothing:")
		if !strings.Contains(cells[3], "`Test") && !open {
			t.Errorf("SECURITY.md names no test for %q", cells[1])
		}
	}
}

// modeled has the modules whose functions and tests SECURITY.md may name.
var modeled = []string{".", "stores/redis", "stores/sql", "cmd/flysim"}

// declared returns the string literals of each test function, and the functions of each
// file, in the modeled modules.
func declared(t *testing.T) (literals, functions map[string][]string) {
	literals, functions = map[string][]string{}, map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && !slices.Contains(modeled, filepath.ToSlash(path)) || d.Name() == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			path := filepath.ToSlash(path)
			functions[path] = append(functions[path], f.Name.Name)
			if !strings.HasSuffix(path, "_test.go") || f.Recv != nil {
				continue
			}
			literals[f.Name.Name] = append(literals[f.Name.Name], "")
			ast.Inspect(f, func(n ast.Node) bool {
				if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
					if name, err := strconv.Unquote(text.Value); err == nil {
						literals[f.Name.Name] = append(literals[f.Name.Name], name)
					}
				}
				return true
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return literals, functions
}

// The target of each relative link exists.
func TestLinksOfThePages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	links := 0
	for _, page := range append(pages, "README.md", "SECURITY.md", "CHANGELOG.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
	if links < 40 {
		t.Errorf("found only %d relative links, want at least 40; was the format of the pages changed?", links)
	}
}
