package flyext_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/flyext/flyext"
)

// FuzzState sends arbitrary states to the callback, which refuses each.
func FuzzState(f *testing.F) {
	st := newSSOTest(f)
	genuine := sign(f, jwt.SigningMethodHS256, []byte(ssoStateKey), jwt.MapClaims{
		"iss": ssoBase, "aud": ssoClientID, "exp": st.now.Add(time.Minute).Unix(), "jti": "n", "org": "o1", "gen": 2,
	})
	parts := strings.Split(genuine, ".")
	for _, seed := range []string{genuine, "", ".", "..", "a.b.c", parts[0] + ".." + parts[2], genuine + "."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, state string) {
		want := http.StatusBadRequest
		if state == genuine {
			want = http.StatusForbidden // the genuine state without its cookie
		}
		st.forget(t)
		r, err := http.NewRequest("GET", ssoBase+"/callback?"+url.Values{"state": {state}, "code": {"x"}}.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := st.world.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != want || len(answer.Header["Set-Cookie"]) > 0 {
			t.Errorf("state %q: status %d, want %d", state, answer.StatusCode, want)
		}
	})
}

// FuzzTokenInfo answers the provider's requests with arbitrary bodies. Only a member
// of o1 is signed in, with the role that the answer has.
func FuzzTokenInfo(f *testing.F) {
	for _, seed := range []string{
		recordedInfo, `{"user_id":"u1","organizations":[{"id":"o1","role":"admin"}]}`,
		`{"user_id":"u1","organizations":[{"id":"o1","role":"x"}],"application":{"uid":"elMJpuhA5bXb"}}`,
		`{"organizations":null}`, `[]`, ``,
	} {
		f.Add(recordedToken, seed)
		f.Add(seed, seed)
	}
	var token, info string
	var entered *flyext.Identity
	st := newSSOTest(f, func(s *flyext.SSOConfig) {
		s.SignIn = func(w http.ResponseWriter, _ *http.Request, id *flyext.Identity) error {
			entered = id
			w.WriteHeader(http.StatusNoContent)
			return nil
		}
	})
	st.fly.token = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, token) }
	st.fly.info = func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, 200, info) }
	f.Fuzz(func(t *testing.T, tokenAnswer, infoAnswer string) {
		st.forget(t)
		token, info, entered = tokenAnswer, infoAnswer, nil
		b := st.browser()
		p := b.get(b.authorize(b.begin("x1")))
		if entered == nil {
			if p.status < 400 {
				t.Errorf("got status %d without a sign-in", p.status)
			}
			return
		}
		// encoding/json is more lenient, so it reads every answer that flyext accepts.
		var says struct {
			UserID        string `json:"user_id"`
			Organizations []struct{ ID, Role string }
		}
		if err := json.Unmarshal([]byte(infoAnswer), &says); err != nil {
			t.Fatalf("the answer %q is accepted: %v", infoAnswer, err)
		}
		member := false
		for _, o := range says.Organizations {
			member = member || o.ID == "o1" && o.Role == entered.Role
		}
		if !member || entered.UserID == "" || entered.OrganizationID != "o1" {
			t.Errorf("%+v is signed in by the answer %q", entered, infoAnswer)
		}
	})
}
