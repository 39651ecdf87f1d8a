package flytest

import (
	"testing"
	"time"
)

// TestOAuthSweep checks that the server deletes expired codes and tokens.
func TestOAuthSweep(t *testing.T) {
	t.Parallel()
	now := time.Unix(1686786353, 0)
	s := &OAuthServer{
		ClientID: "logjam", ClientSecret: "client-secret", RedirectURLs: []string{"https://logjam.io/flyio/callback"},
		Now: func() time.Time { return now },
	}
	s.SetUsers(User{ID: "u"})
	code := func() string {
		t.Helper()
		answer, err := s.grant(authorization{redirectURL: s.RedirectURLs[0], scope: "read"}, Choice{UserID: "u"})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Get("code")
	}
	want := func(when string, grants, tokens int) {
		t.Helper()
		if len(s.grants) != grants || len(s.tokens) != tokens {
			t.Errorf("%s: %d grants and %d tokens, want %d and %d", when, len(s.grants), len(s.tokens), grants, tokens)
		}
	}
	for range 100 {
		code()
	}
	if _, refusal := s.redeem(code(), s.RedirectURLs[0], ""); refusal != "" {
		t.Fatal(refusal)
	}
	want("at first", 101, 1)
	now = now.Add(defaultCodeLifetime + 1)
	code()
	want("when the codes have expired", 2, 1) // the used code is kept to detect its reuse
	now = now.Add(defaultTokenLifetime)
	code()
	want("when the token has expired", 1, 0)
}
