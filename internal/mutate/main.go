// Mutate tries whether the tests notice changes of the code: it makes each
// comparison another, drops each statement, has each function return something
// else, one at a time, and prints the changes that no test failed for.
//
//	go run ./internal/mutate replay.go internal/mac/*.go
//
// Those of accepted.txt are expected to survive, for the reason that stands
// there. The exit status is 1 if another one does, or if one of them no longer
// does.
//
// The tests are those of the file's package and of the package at the root of
// its module, or with -own the former alone. A line STOPPED tells of a mutant that
// no test failed for, but that crashed, or used up its time, which is more than
// five times what the tests need without it: a loop without end, or a deadlock.
//
// On two processors that several other jobs kept busy, four mutants at once
// (-p 4), the files that verify took, building not counted: internal/msgsig with
// -own 483 s for 1,034 mutants, internal/sfv with -own 103 s for 469,
// xsignature.go 370 s for 279, messagesignature.go 387 s for 227, authenticate.go
// 494 s for 191, and signature.go, two at once, 199 s for 176.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	processes := flag.Int("p", 2, "how many mutants are tested at once")
	accepted := flag.String("accepted", "internal/mutate/accepted.txt", "the survivors that are expected, with their reasons")
	only := flag.String("only", "", "try only mutants whose name has this `text` in it")
	own := flag.Bool("own", false, "run the tests of the file's package alone, which is quicker and lets more survive")
	list := flag.Bool("list", false, "list the mutants and test nothing")
	flag.Parse()
	r := &rig{processes: *processes, accepted: *accepted, only: *only, own: *own, list: *list, out: os.Stdout}
	if err := r.run(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

type rig struct {
	processes      int
	accepted, only string
	own, list      bool
	out            io.Writer
	scratch        string
}

var errSurvivors = errors.New("the survivors are not those that are accepted")

// run mutates files, which it takes by package.
func (r *rig) run(files []string) (err error) {
	if r.scratch, err = os.MkdirTemp("", "mutate"); err != nil {
		return err
	}
	defer os.RemoveAll(r.scratch)
	reasons, err := readAccepted(r.accepted)
	if err != nil {
		return err
	}
	packages := map[string][]string{}
	for _, file := range files {
		dir := filepath.Dir(file)
		packages[dir] = append(packages[dir], file)
	}
	asExpected := true
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		survivors, dead, err := r.mutatePackage(dir, packages[dir], reasons)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		asExpected = r.judge(packages[dir], survivors, dead, reasons) && asExpected
	}
	if !asExpected {
		return errSurvivors
	}
	return nil
}

// judge says whether the survivors are those that are accepted, and tells of
// what is accepted without being one.
func (r *rig) judge(files []string, survivors, dead []mutant, reasons map[string]string) bool {
	survived, killed := map[string]bool{}, map[string]bool{}
	asExpected := true
	for _, m := range survivors {
		survived[m.name()] = true
		asExpected = asExpected && reasons[m.name()] != ""
	}
	for _, m := range dead {
		killed[m.name()] = true
	}
	for _, name := range slices.Sorted(maps.Keys(reasons)) {
		file, _, _ := strings.Cut(name, " ")
		switch {
		case r.list || survived[name] || !slices.Contains(files, file) || !strings.Contains(name, r.only):
			continue
		case killed[name]:
			fmt.Fprintf(r.out, "ACCEPTED, BUT KILLED %s\n", name)
		default:
			fmt.Fprintf(r.out, "ACCEPTED, BUT NOT THERE %s\n", name)
		}
		asExpected = false
	}
	return asExpected
}

// readAccepted reads lines of a mutant's name and, indented below, the reason.
func readAccepted(name string) (map[string]string, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	reasons, last := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		switch line = strings.TrimRight(line, "\n"); {
		case line == "" || line[0] == '#':
		case line[0] == '\t' && last != "":
			reasons[last] += line
		default:
			last = line
			reasons[last] = ""
		}
	}
	for name, reason := range reasons {
		if reason == "" {
			return nil, fmt.Errorf("no reason to accept %s", name)
		}
	}
	return reasons, nil
}

// A program is a test binary with all mutants in it.
type program struct {
	path, dir string
	timeout   time.Duration
	seconds   int           // of processor time
	used      time.Duration // of it, without any mutant
}

func (r *rig) mutatePackage(dir string, files []string, reasons map[string]string) (survivors, dead []mutant, err error) {
	mutants, overlay, err := r.rewrite(dir, files)
	if err != nil {
		return nil, nil, err
	}
	chosen := slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.name(), r.only) })
	if r.list {
		for _, m := range chosen {
			fmt.Fprintf(r.out, "%s:%d %s\n", m.file, m.line, m.name())
		}
		return nil, nil, nil
	}
	root, err := goList(dir, "{{.Module.Dir}}")
	if err != nil {
		return nil, nil, err
	}
	own, err := filepath.Abs(dir)
	if err != nil {
		return nil, nil, err
	}
	var programs []program
	if r.own {
		root = own
	}
	for i, tests := range slices.Compact([]string{own, root}) {
		p := program{path: filepath.Join(r.scratch, strconv.Itoa(i)), dir: tests}
		build := exec.Command("go", "test", "-vet=off", "-c", "-overlay", overlay, "-o", p.path, ".")
		build.Dir = tests
		if text, err := build.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("%w\n%s", err, text)
		}
		if _, err := os.Stat(p.path); err != nil { // a package without tests
			continue
		}
		begin := time.Now()
		p.timeout, p.seconds = 5*time.Minute, 300
		if test, failed := p.fails(0, "."); failed {
			return nil, nil, fmt.Errorf("without any mutant %s of %s fails", test, tests)
		}
		p.timeout, p.seconds = time.Minute+10*time.Since(begin), 3+int(5*p.used.Seconds())
		programs = append(programs, p)
	}
	begin := time.Now()
	var wait sync.WaitGroup
	var mu sync.Mutex
	killers := map[string][]string{} // by file and program: the tests that noticed mutants of it, the latest first
	next := make(chan mutant)
	for range r.processes {
		wait.Go(func() {
			for m := range next {
				killer, killed, by := "", false, ""
				for i := range 2 * len(programs) { // first the likely tests of each, then all of each
					p := programs[i%len(programs)]
					tests := "."
					if by = m.file + p.path; i < len(programs) {
						mu.Lock()
						tests = "^(" + strings.Join(killers[by][:min(len(killers[by]), 5)], "|") + ")$"
						mu.Unlock()
					}
					if tests == "^()$" {
						continue
					}
					if killer, killed = p.fails(m.id, tests); killed {
						break
					}
				}
				mu.Lock()
				if killed {
					dead = append(dead, m)
					if killer == "" {
						fmt.Fprintf(r.out, "STOPPED %s:%d %s: %s -> %s\n", m.file, m.line, m.where, m.from, m.to)
					}
					if killer != "" {
						killers[by] = slices.Insert(slices.DeleteFunc(killers[by], func(k string) bool { return k == killer }), 0, killer)
					}
				} else {
					survivors = append(survivors, m)
					if reasons[m.name()] == "" {
						fmt.Fprintf(r.out, "SURVIVED %s:%d %s\n\t- %s\n\t+ %s\n", m.file, m.line, m.where, m.from, m.to)
					}
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range chosen {
		next <- m
	}
	close(next)
	wait.Wait()
	fmt.Fprintf(r.out, "%s: %d mutants, %d survived, %.0f s\n", dir, len(chosen), len(survivors), time.Since(begin).Seconds())
	return survivors, dead, nil
}

// fails says which test fails under a mutant. A program that does not end, or
// takes memory without end, has failed. A loop without end is told by its
// processor time, since on a busy machine the time itself says little.
func (p *program) fails(id int, tests string) (test string, failed bool) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	c := exec.CommandContext(ctx, "sh", "-c", `ulimit -v 8000000; ulimit -t "$2"; exec "$0" -test.failfast -test.v -test.run "$1"`, p.path, tests, strconv.Itoa(p.seconds))
	c.Dir, c.Env = p.dir, append(os.Environ(), "MUTANT="+strconv.Itoa(id))
	pipe, err := c.StdoutPipe()
	if err != nil || c.Start() != nil {
		return "it cannot be started", true
	}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		if _, name, ok := strings.Cut(lines.Text(), "--- FAIL: "); ok && test == "" {
			test, _, _ = strings.Cut(strings.Fields(name)[0], "/")
			cancel() // one is enough
		}
	}
	err = c.Wait()
	if id == 0 {
		p.used = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	}
	return test, err != nil
}

func goList(dir, format string) (string, error) {
	c := exec.Command("go", "list", "-f", format, ".")
	c.Dir = dir
	text, err := c.Output()
	return strings.TrimSpace(string(text)), err
}

// rewrite writes the files with their mutants, and the overlay that has the
// compiler read these.
func (r *rig) rewrite(dir string, files []string) (mutants []mutant, overlay string, err error) {
	c := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	c.Dir = dir
	text, err := c.Output()
	if err != nil {
		return nil, "", err
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(text)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	names, err := goList(dir, "{{.ImportPath}} {{join .GoFiles \" \"}}")
	if err != nil {
		return nil, "", err
	}
	fset := token.NewFileSet()
	var syntax []*ast.File
	path, names, _ := strings.Cut(names, " ")
	for name := range strings.FieldsSeq(names) {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, "", err
		}
		syntax = append(syntax, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	pkg, err := config.Check(path, fset, syntax, info)
	if err != nil {
		return nil, "", err
	}
	replace := map[string]string{}
	write := func(name string, text []byte) error {
		to := filepath.Join(r.scratch, strconv.Itoa(len(replace))+".go")
		name, err := filepath.Abs(name)
		replace[name] = to
		return errors.Join(err, os.WriteFile(to, text, 0o600))
	}
	for _, name := range files {
		i := slices.IndexFunc(syntax, func(f *ast.File) bool { return fset.Position(f.Pos()).Filename == filepath.Clean(name) })
		if i < 0 {
			return nil, "", fmt.Errorf("%s is no file of the package", name)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, "", err
		}
		s := &source{
			name: filepath.ToSlash(filepath.Clean(name)), text: text, fset: fset, syntax: syntax[i], pkg: pkg, info: info,
			mutants: &mutants, edits: map[int]*edit{},
		}
		s.mutate()
		if err := write(name, s.result()); err != nil {
			return nil, "", err
		}
	}
	if err := write(filepath.Join(dir, "mutant.go"), fmt.Appendf(nil, switchboard, pkg.Name())); err != nil {
		return nil, "", err
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(map[string]any{"Replace": replace}); err != nil {
		return nil, "", err
	}
	overlay = filepath.Join(r.scratch, "overlay.json")
	return mutants, overlay, os.WriteFile(overlay, b.Bytes(), 0o600)
}

// switchboard is compiled into a mutated package.
const switchboard = `package %s

import (
	"errors"
	"os"
	"strconv"
)

var mutantActive, _ = strconv.Atoi(os.Getenv("MUTANT"))

func mutantIs(id int) bool { return mutantActive == id }

func mutantError() error { return errors.New("mutant") }

func mutantOr[T any](is bool, mutated, original T) T {
	if is {
		return mutated
	}
	return original
}
`
