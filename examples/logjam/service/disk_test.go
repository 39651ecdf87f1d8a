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

// A disk has the directory of a database, and can be filled and freed.
type disk struct {
	dir        string
	logged     string // the reason in Logjam's log
	fill, free func(t *testing.T, s *store)
}

// boundDisk returns a disk that is full because of a limit in SQLite. It needs no
// privileges.
func boundDisk(t *testing.T) disk {
	bound := func(t *testing.T, s *store, pages string) {
		t.Helper()
		var n int
		if err := s.db.QueryRowContext(t.Context(), `PRAGMA max_page_count = `+pages).Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	return disk{
		dir:    t.TempDir(),
		logged: "database or disk is full",
		fill:   func(t *testing.T, s *store) { bound(t, s, "1") }, // SQLite raises it to the current number of pages
		free:   func(t *testing.T, s *store) { bound(t, s, "1000000") },
	}
}

// smallDisk returns a disk that is a small file system, which another file fills. It
// returns false if the process may not mount a file system.
func smallDisk(t *testing.T) (d disk, ok bool) {
	d.dir, d.logged = t.TempDir(), "disk I/O error" // the driver does not recognize a full disk
	if output, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", d.dir).CombinedOutput(); err != nil {
		t.Logf("testing without a small file system, because mount failed: %v: %s", err, output)
		return d, false
	}
	t.Cleanup(func() { exec.Command("umount", d.dir).Run() })
	filler := filepath.Join(d.dir, "filler")
	d.fill = func(t *testing.T, _ *store) {
		t.Helper()
		if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); err == nil {
			t.Error("the file system is not full")
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

// TestDiskFull checks Logjam on a full disk. Logjam answers 500 without a reason,
// leaves no partial changes, and still reads. As soon as the disk has space, it
// writes again.
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
	for ; ; n++ { // SQLite first uses the free space in its pages
		if secrets[n], err = provision(n); err != nil {
			break
		}
		if n == 5000 {
			t.Fatal("the disk is not full after 5000 streams")
		}
	}
	before := countRows(t, s.logjam.store)
	const attempts = 20
	for range attempts {
		_, err := provision(n)
		e, ok := errors.AsType[*flyext.Error](err)
		if !ok || e.Status != http.StatusInternalServerError || string(answer) != `{"error":"internal","message":"Internal Server Error"}` {
			t.Fatalf("on a full disk Logjam answered %v: %s", err, answer)
		}
		if _, err := fly.Fetch(t.Context(), "stream-0"); err != nil {
			t.Errorf("on a full disk Logjam cannot read a stream: %v", err)
		}
		_, err = fly.Fetch(t.Context(), fmt.Sprint("stream-", n))
		if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusNotFound {
			t.Errorf("the stream of the failed request: got %v, want 404", err)
		}
	}
	if after := countRows(t, s.logjam.store); after != before {
		t.Errorf("the failed requests changed the number of rows from %s to %s", before, after)
	}

	d.free(t, s.logjam.store)
	if secrets[n], err = provision(n); err != nil {
		t.Errorf("the disk has space again, but Logjam answered %v", err)
	}
	for i, secret := range secrets {
		if again, err := provision(i); err != nil || again != secret || secret == "" {
			t.Errorf("stream-%d: the secrets changed, %v", i, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if got := strings.Count(log.String(), d.logged); got < attempts {
		t.Errorf("the log says %q %d times, want at least %d:\n%.2000s", d.logged, got, attempts, &log)
	}
	for _, secret := range secrets {
		if strings.Contains(log.String(), secret) {
			t.Error("the log contains a stream's secret")
		}
	}
	if strings.Contains(log.String(), testSecret) {
		t.Error("the log contains the signing secret")
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
