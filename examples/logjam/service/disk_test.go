package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A disk is where a database is, and can be filled.
type disk struct {
	dir        string
	fill, free func(t *testing.T, s *store)
}

// boundDisk is full when SQLite says so: anybody can have that.
func boundDisk(t *testing.T) disk {
	bound := func(t *testing.T, s *store, pages string) {
		t.Helper()
		var n int
		if err := s.db.QueryRowContext(t.Context(), `PRAGMA max_page_count = `+pages).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	return disk{
		dir:  t.TempDir(),
		fill: func(t *testing.T, s *store) { bound(t, s, "1") }, // which makes it as many as there are
		free: func(t *testing.T, s *store) { bound(t, s, "1000000") },
	}
}

// smallDisk is a file system of its own that something else fills. Only root can
// have that, and not everywhere: without it boundDisk has to do.
func smallDisk(t *testing.T) (d disk, ok bool) {
	d.dir = t.TempDir()
	if output, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Logf("no disk to fill: %v: %s", err, output)
		return d, false
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() })
	filler := filepath.Join(d.dir, "filler")
	d.fill = func(t *testing.T, _ *store) {
		t.Helper()
		if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); err == nil {
			t.Error("the disk is not full")
		}
	}
	d.free = func(t *testing.T, _ *store) {
		t.Helper()
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	return d, true
}

// TestDiskFull: without room Logjam answers 500 and says nothing of it to a
// stranger, makes nothing by halves, goes on reading, and writes again as soon as
// there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disks := map[string]disk{"SQLite's bound": boundDisk(t)}
	if d, ok := smallDisk(t); ok {
		disks["a file system"] = d
	}
	for name, d := range disks {
		t.Run(name, func(t *testing.T) { testDiskFull(t, d) })
	}
}

func testDiskFull(t *testing.T, d disk) {
	var mu sync.Mutex
	var log bytes.Buffer
	c := config{addr: "127.0.0.1:0", db: filepath.Join(d.dir, "logjam.db"), signingSecrets: []string{testSecret}}
	s, err := newServer(t.Context(), c, slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.logjam.store.close() })
	t.Cleanup(func() { s.http.Close() })
	go s.http.Serve(s.listener) // until it is closed
	var answer []byte
	fly := &flytest.Platform{
		BaseURL: s.baseURL, Signer: flytest.XSignature(testSecret), Client: &http.Client{Transport: &http.Transport{}},
		Observe: func(e flytest.Exchange) { answer = e.ResponseBody },
	}
	t.Cleanup(fly.Client.CloseIdleConnections)
	provision := func(n int) (string, error) {
		x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{
			ID: fmt.Sprint("stream-", n), Name: strings.Repeat("long ", 200), OrganizationID: fmt.Sprint("org-", n), UserID: "user",
		})
		if err != nil {
			return "", err
		}
		return x.Secrets[secretName], nil
	}
	secrets := map[int]string{}
	if secrets[0], err = provision(0); err != nil {
		t.Fatal(err)
	}

	d.fill(t, s.logjam.store)
	n := 1
	for ; ; n++ { // there was room in what SQLite has already
		if secrets[n], err = provision(n); err != nil {
			break
		}
		if n == 5000 {
			t.Fatal("the disk is not full")
		}
	}
	before := countRows(t, s.logjam.store)
	const attempts = 20
	for range attempts {
		_, err := provision(n)
		e, ok := errors.AsType[*flyext.Error](err)
		if !ok || e.Status != http.StatusInternalServerError || string(answer) != `{"error":"internal","message":"Internal Server Error"}` {
			t.Fatalf("without room it answered %v: %s", err, answer)
		}
		if _, err := fly.Fetch(t.Context(), "stream-0"); err != nil {
			t.Errorf("what is there cannot be read: %v", err)
		}
		_, err = fly.Fetch(t.Context(), fmt.Sprint("stream-", n))
		if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusNotFound {
			t.Errorf("what could not be made is there: %v", err)
		}
	}
	if after := countRows(t, s.logjam.store); after != before {
		t.Errorf("a failure left something: there were rows %s, and are %s", before, after)
	}

	d.free(t, s.logjam.store)
	if secrets[n], err = provision(n); err != nil {
		t.Errorf("there is room again, and it answers %v", err)
	}
	for i, secret := range secrets {
		if again, err := provision(i); err != nil || again != secret || secret == "" {
			t.Errorf("stream-%d: other secrets than before: %v", i, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Count(log.String(), "full"); got < attempts {
		t.Errorf("the log says %d times that the disk is full:\n%.2000s", got, &log)
	}
	for _, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
	if strings.Contains(log.String(), testSecret) {
		t.Error("the signing secret is in the log")
	}
}

// countRows counts the rows of every table.
func countRows(t *testing.T, s *store) (counts string) {
	t.Helper()
	for _, table := range []string{"organizations", "users", "memberships", "streams", "revisions", "activities"} {
		var n int
		if err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		counts += fmt.Sprintf("%s %d ", table, n)
	}
	return counts
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
