package service

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSessionCookie(t *testing.T) {
	t.Parallel()
	c := newDashboardTest(t).in(collider)
	if c.Name != "__Host-logjam-session" || c.Path != "/" || c.Domain != "" || !c.Secure || !c.HttpOnly ||
		c.SameSite != http.SameSiteLaxMode || c.MaxAge != 8*60*60 {
		t.Errorf("the cookie is %+v", c)
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	d.clock = d.clock.Truncate(time.Second)
	in := d.in(collider)
	d.clock = d.clock.Add(sessionLifetime - time.Second)
	if w := d.get("/streams/alpha", in); w.Code != http.StatusOK {
		t.Errorf("before the session expires: got %d, want 200", w.Code)
	}
	d.clock = d.clock.Add(time.Second)
	if w := d.get("/streams/alpha", in); w.Code != http.StatusForbidden {
		t.Errorf("when the session expires: got %d, want 403", w.Code)
	}
	d.in(collider)
	if got := d.count(`SELECT count(*) FROM sessions`); got != 1 {
		t.Errorf("%d sessions are stored, want only the new one", got)
	}
}

func (d *dashboardTest) count(query string, args ...any) (n int) {
	d.t.Helper()
	if err := d.store.db.QueryRowContext(d.t.Context(), query, args...).Scan(&n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

func TestTamperedSessionCookie(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	in := d.in(collider)
	var values []string
	for i := range in.Value {
		values = append(values, in.Value[:i]+string('A'+(in.Value[i]-'A'+1)%26)+in.Value[i+1:])
	}
	id, signature, _ := strings.Cut(in.Value, ".")
	other := sessionCookies{key: d.store.stateKey, secure: true}
	values = append(values, in.Value[1:], in.Value+"A", strings.ToLower(in.Value), "%", "' OR 1=1 --",
		string(hashOf(id)), hex.EncodeToString(hashOf(id)),
		id, id+".", "."+signature, id+"."+id, // without a valid signature
		other.write(id).Value, // signed with another key
	)
	for _, value := range values {
		if w := d.get("/streams/alpha", &http.Cookie{Name: in.Name, Value: value}); w.Code != http.StatusForbidden {
			t.Errorf("cookie %q: got %d, want 403", value, w.Code)
		}
	}
	// A cookie set over plain http cannot have the prefix __Host-.
	if w := d.get("/streams/alpha", &http.Cookie{Name: "logjam-session", Value: in.Value}); w.Code != http.StatusForbidden {
		t.Errorf("cookie without the prefix __Host-: got %d, want 403", w.Code)
	}
	if got := d.count(`SELECT count(*) FROM sessions WHERE instr(hash, ?) OR user_name = ?`, id, id); got != 0 {
		t.Error("the database contains the id of a session")
	}
}

// TestSessionFixation checks that an attacker who put a session id into a browser
// does not share the session that starts there.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	d := newDashboardTest(t)
	planted := d.in(hadron)
	started := d.inAgain(collider, planted)
	if started.Value == planted.Value {
		t.Error("the new session has the planted id")
	}
	for _, path := range []string{"/streams/alpha", "/streams/gamma"} {
		if w := d.get(path, planted); w.Code != http.StatusForbidden {
			t.Errorf("%s with the planted id: got %d, want 403", path, w.Code)
		}
	}
}

func TestSignOut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		method string
		header map[string]string
		status int
	}{
		{"own page", "POST", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "https://logjam.example"}, 303},
		{"own page, old browser", "POST", map[string]string{"Origin": "https://logjam.example"}, 303},
		{"another site", "POST", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		{"another subdomain", "POST", map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		{"another site, old browser", "POST", map[string]string{"Origin": "https://evil.example"}, 403},
		{"sandboxed page, old browser", "POST", map[string]string{"Origin": "null"}, 403},
		{"image", "GET", map[string]string{"Sec-Fetch-Site": "cross-site"}, 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDashboardTest(t)
			in, other := d.in(collider), d.in(collider)
			r := httptest.NewRequest(test.method, "https://logjam.example/sign-out", nil)
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			r.AddCookie(in)
			w := d.do(r)
			if w.Code != test.status {
				t.Errorf("got %d, want %d", w.Code, test.status)
			}
			want := http.StatusOK
			if test.status == http.StatusSeeOther {
				want = http.StatusForbidden
				if c := w.Result().Cookies(); len(c) != 1 || c[0].Name != in.Name || c[0].MaxAge >= 0 || c[0].Path != "/" || !c[0].Secure {
					t.Errorf("the answer has the cookies %v, want one that removes the session's", c)
				}
			} else if len(w.Result().Cookies()) > 0 {
				t.Error("the refused request removed the cookie")
			}
			if got := d.get("/streams/alpha", in).Code; got != want {
				t.Errorf("the stream afterwards: got %d, want %d", got, want)
			}
			if got := d.get("/streams/alpha", other).Code; got != http.StatusOK {
				t.Errorf("the stream in the user's other session: got %d, want 200", got)
			}
		})
	}
}
