package flyext_test

import (
	"bufio"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/flyext/flyext"
)

func TestBodyBound(t *testing.T) {
	t.Parallel()
	padded := func(n int) string {
		body := `{"id":"x","organization_id":"o","pad":"`
		return body + strings.Repeat("a", n-len(body)-2) + `"}`
	}
	tests := []struct {
		name    string
		size    int
		length  bool // whether Content-Length is set
		status  int
		maximum int64
	}{
		{"as large as is allowed", 1 << 20, true, 200, 0},
		{"one byte more", 1<<20 + 1, true, 413, 0},
		{"one byte more, length unknown", 1<<20 + 1, false, 413, 0},
		{"configured", 100, true, 200, 100},
		{"configured, one byte more", 101, true, 413, 100},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			r := httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader(padded(tt.size)))
			if !tt.length {
				r.ContentLength = -1
			}
			w := do(newProvider(t, p, func(c *flyext.Config) { unsigned(c); c.MaxBodyBytes = tt.maximum }), r)
			if w.Code != tt.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.status == 413 && readAnswer(t, w).Error != "body_too_large" {
				t.Errorf("got %s, want the code body_too_large", w.Body)
			}
			if tt.status != 200 && len(p.recorded()) != 0 {
				t.Error("the Provisioner was called")
			}
		})
	}
}

// unreadable is a body that must not be read.
type unreadable struct{ t *testing.T }

func (b unreadable) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

func TestAnnouncedBodyIsRefusedUnread(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "/flyio/extensions", unreadable{t})
	r.ContentLength = 1<<20 + 1
	if w := do(newProvider(t, &testProvisioner{}, unsigned), r); w.Code != 413 {
		t.Errorf("got %d %s, want 413", w.Code, w.Body)
	}
}

// TestBodiesOnTheWire sends bodies that net/http's client cannot send.
func TestBodiesOnTheWire(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, wire string
		status     string
		calls      int
	}{
		{"chunked", "Transfer-Encoding: chunked\r\n\r\n10\r\n" + minimal[:16] + "\r\n12\r\n" + minimal[16:] + "\r\n0\r\n\r\n", "200", 1},
		{"chunked and cut off", "Transfer-Encoding: chunked\r\n\r\n10\r\n" + minimal[:16] + "\r\n", "400", 0},
		{"shorter than its Content-Length", "Content-Length: 100\r\n\r\n" + minimal, "400", 0},
		{"longer than its Content-Length", "Content-Length: 33\r\nConnection: close\r\n\r\n" + minimal, "400", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := &testProvisioner{}
			srv := httptest.NewServer(newProvider(t, p, unsigned))
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "POST /flyio/extensions HTTP/1.1\r\nHost: logjam.test\r\n"+tt.wire)
			conn.(*net.TCPConn).CloseWrite()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.Contains(line, " "+tt.status+" ") {
				t.Errorf("got %q, %v; want status %s", line, err, tt.status)
			}
			if got := len(p.recorded()); got != tt.calls {
				t.Errorf("%d calls, want %d", got, tt.calls)
			}
		})
	}
}

// The body of a refused request can still be read: the service may authenticate the
// request in another way that needs the body.
func TestBodyOfRefusedRequest(t *testing.T) {
	t.Parallel()
	auth, err := flyext.NewAuthenticator(flyext.Config{BaseURL: testBase, Verifier: flyext.XSignature(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/flyio/extensions", strings.NewReader("{}"))
	if err := auth.Check(r); err == nil {
		t.Error("an unsigned request was admitted")
	}
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "{}" {
		t.Errorf("got %q, %v", body, err)
	}
}
