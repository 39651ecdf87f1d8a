package flytest_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/flyext/flyext/flytest"
)

func TestOAuthFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name        string
		fault       flytest.Fault
		status      int
		contentType string
		body        string // part of the body
		used        bool   // the answer uses up the code
	}{
		{"500", flytest.StatusAnswer(500), 500, "text/plain; charset=utf-8", "Internal Server Error\n", false},
		{"HTML", flytest.HTMLAnswer(), 200, "text/html; charset=utf-8", "<!doctype html>", false},
		{"an array", flytest.JSONAnswer(200, "[1]"), 200, "application/json; charset=utf-8", "[1]", false},
		{"an error", flytest.ErrorAnswer("invalid_grant"), 400, "application/json; charset=utf-8", `{"error":"invalid_grant",`, false},
		{"wrong type", flytest.WithMember("expires_in", []string{"soon"}), 200, "application/json; charset=utf-8", `"expires_in":["soon"]`, true},
		{"new member", flytest.WithMember("new", nil), 200, "application/json; charset=utf-8", `"new":null`, true},
		{"huge", flytest.HugeAnswer(2 << 20), 200, "application/json; charset=utf-8", `"token_type":"Bearer"`, true},
		{"redirect", flytest.RedirectLoop(), 307, "", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := newOAuthTest(t)
			code := o.aCode()
			o.fly.SetFault(flytest.TokenEndpoint, test.fault)
			w := o.redeem(tokenForm(code))
			if w.Code != test.status || w.Header().Get("Content-Type") != test.contentType || !strings.Contains(w.Body.String(), test.body) {
				t.Errorf("got %d, %q, %.200s; want %d, %q, %s", w.Code, w.Header().Get("Content-Type"), w.Body, test.status, test.contentType, test.body)
			}
			if test.name == "huge" && w.Body.Len() <= 2<<20 {
				t.Errorf("got %d bytes, want more than 2 MiB", w.Body.Len())
			}
			if test.name == "redirect" && w.Header().Get("Location") != "?again" {
				t.Errorf("redirected to %q", w.Header().Get("Location"))
			}
			o.fly.SetFault(flytest.TokenEndpoint, nil)
			if w := o.redeem(tokenForm(code)); (w.Code != http.StatusOK) != test.used {
				t.Errorf("without the fault, got %d %s; want the code used: %t", w.Code, w.Body, test.used)
			}
		})
	}
}

func TestOAuthFaultsOfMembers(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	o.fly.SetFault(flytest.TokenEndpoint, flytest.WithoutMember("token_type"))
	w := o.redeem(tokenForm(o.aCode()))
	if object := decodeObject(t, w); object["token_type"] != nil || object["scope"] != "read" {
		t.Errorf("got %s, want an answer without token_type", w.Body)
	}
	o.fly.SetFault(flytest.TokenInfoEndpoint, flytest.ForeignApplication())
	accessToken, _ := decodeObject(t, w)["access_token"].(string)
	w = o.info(accessToken)
	if got, want := w.Body.String(), `"application":{"uid":"another-application"}`; !strings.Contains(got, want) || strings.Contains(got, oauthClientID) {
		t.Errorf("got %s, want %s in it", got, want)
	}
	// An answer that is not a JSON object does not change.
	o.fly.SetFault(flytest.AuthorizeEndpoint, flytest.WithoutMember("error"))
	location(t, o.choose(asked(o.fly), signIn(nathan.ID)))
}

func TestOAuthSlowAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := newOAuthTest(t)
		code := o.aCode()
		release := make(chan struct{})
		o.fly.SetFault(flytest.TokenEndpoint, flytest.SlowAnswer(release))

		ctx, leave := context.WithCancel(t.Context())
		left := make(chan any)
		go func() {
			defer func() { left <- recover() }()
			o.fly.ServeHTTP(httptest.NewRecorder(), formRequest("/oauth/token", tokenForm(code)).WithContext(ctx))
		}()
		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() { answered <- o.redeem(tokenForm(code)) }()
		synctest.Wait()
		select {
		case w := <-answered:
			t.Fatalf("got %d before the release", w.Code)
		default:
		}
		if got := len(o.fly.Requests()); got != 3 {
			t.Errorf("got %d recorded requests during the wait, want 3", got)
		}
		leave()
		if v := <-left; v != http.ErrAbortHandler {
			t.Errorf("for a disconnected client, recovered %v, want http.ErrAbortHandler", v)
		}
		close(release)
		if w := <-answered; w.Code != http.StatusOK {
			t.Errorf("after the release, got %d %s", w.Code, w.Body)
		}
	})
}

// TestOAuthRedirectLoop checks that the loop works under any path prefix.
func TestOAuthRedirectLoop(t *testing.T) {
	t.Parallel()
	o := newOAuthTest(t)
	o.fly.SetFault(flytest.TokenEndpoint, flytest.RedirectLoop())
	server := httptest.NewServer(http.StripPrefix("/fly", o.fly))
	defer server.Close()
	answer, err := server.Client().PostForm(server.URL+"/fly/oauth/token", tokenForm("x"))
	if err == nil {
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		t.Fatalf("got %d %s, want too many redirects", answer.StatusCode, body)
	}
	if got := o.fly.Requests(); len(got) != 10 || got[9].Form.Get("code") != "x" {
		t.Errorf("got %d requests, want http.Client's 10, each with the form", len(got))
	}
}
