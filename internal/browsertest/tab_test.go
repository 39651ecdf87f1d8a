package browsertest_test

import (
	"bytes"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext/internal/browsertest"
)

func TestOpens(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	url := site(t)
	b.Open(url+"/", http.StatusOK)
	b.WantPage(url+"/", "Start")
	if got := b.Text("h1"); got != "Start" {
		t.Errorf("the heading is %q", got)
	}
	for selector, want := range map[string]bool{"#main": true, "#hidden": true, "#nothing": false, `a[href="/next"]`: true} {
		if got := b.Exists(selector); got != want {
			t.Errorf("%s: got exists %t", selector, got)
		}
	}
	b.Click("#next", http.StatusOK)
	b.WantPage(url+"/next", "Next")
	if b.Back() {
		b.Reload(http.StatusOK)
	}
	b.WantPage(url+"/", "Start")
	b.Click("#missing", http.StatusNotFound) // not a complaint
	b.Open(url+"/gone", http.StatusNotFound)
	b.Reload(http.StatusNotFound)
	b.WantPage(url+"/gone", "Page not found")
}

func TestFills(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	url := site(t)
	b.Open(url+"/form", http.StatusOK)
	b.Fill("#name", "`Zoë` \"</b>\"")
	b.Fill("textarea", "first\nsecond")
	b.Select("#region", "mad")
	b.ClickHere("#agree")
	for expression, want := range map[string]string{
		`document.querySelector("#name").value`:                   "`Zoë` \"</b>\"",
		`document.querySelector("textarea").value`:                "first\nsecond",
		`document.querySelector("#region").value`:                 "mad",
		`String(document.querySelector("#agree").checked)`:        "true",
		`Promise.resolve(document.querySelector("h1") ?? "none")`: "none",
	} {
		if got := browsertest.Eval[string](b, expression); got != want {
			t.Errorf("%s is %q, want %q", expression, got, want)
		}
	}
	for _, want := range []string{"input name;", "change name;", "input region;change region;", "input agree;change agree;"} {
		if got := b.Text("output"); !strings.Contains(got, want) {
			t.Errorf("the page got events %q, want %q", got, want)
		}
	}
	b.Fill("#name", "")
	b.Fill("#name", "Nathan")
	b.Click("#save", http.StatusOK)
	if got := b.Text("body"); !strings.Contains(got, "Saved Nathan") || !strings.Contains(got, "first second") {
		t.Errorf("the page shows %q", got)
	}
	b.Open(url+"/form", http.StatusOK)
	b.Fill("#name", "")
	b.Click("#save", http.StatusOK)
	if got := b.Text("h1"); got != "Saved" {
		t.Errorf("the page shows %q", got)
	}
}

func TestPresses(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	url := site(t)
	b.Open(url+"/form", http.StatusOK)
	if got := b.Focused().String(); got != "body" {
		t.Errorf("the focus is initially on %s", got)
	}
	for _, step := range []struct {
		keys browsertest.Key
		held []browsertest.Modifier
		want string
	}{
		{browsertest.KeyTab, nil, "#name"},
		{browsertest.KeyTab, nil, `textarea[name="note"]`},
		{browsertest.KeyTab, []browsertest.Modifier{browsertest.Shift}, "#name"},
		{"Emmy", nil, "#name"},
		{browsertest.KeyTab, nil, `textarea[name="note"]`},
		{browsertest.KeyTab, nil, "#region"},
		{browsertest.KeyDown, nil, "#region"},
		{browsertest.KeyTab, nil, "#agree"},
		{browsertest.KeySpace, nil, "#agree"},
		{browsertest.KeyTab, nil, "#fixed"},
		{browsertest.KeyTab, nil, "#save"},
	} {
		b.Press(step.keys, step.held...)
		if got := b.Focused().String(); got != step.want {
			t.Errorf("after %q the focus is on %s, want %s", step.keys, got, step.want)
		}
	}
	if got := b.Focused(); got.Tag != "button" || got.Text != "Save" || !got.OnScreen || got.Outline == "none" {
		t.Errorf("the focus is on %+v", got)
	}
	if got := browsertest.Eval[[]string](b, `[document.querySelector("#region").value, String(agree.checked)]`); !slices.Equal(got, []string{"mad", "true"}) {
		t.Errorf("after the keys the form has %q", got)
	}
	b.Navigate(func() { b.Press(browsertest.KeyEnter) }, http.StatusOK)
	if got := b.Text("h1"); got != "Saved Emmy" {
		t.Errorf("the page shows %q", got)
	}
}

func TestWaits(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	url := site(t)
	b.Open(url+"/live", http.StatusOK)
	b.ClickHere("#go")
	b.WaitForText("#count", "1")
	b.WaitFor("#late")
	b.WaitUntil("document.querySelectorAll('p').length === 2")
	b.WantPage(url+"/live", "late")
}

func TestWantsComplaint(t *testing.T) {
	t.Parallel()
	b := browsertest.New(t)
	url := site(t)
	b.Open(url+"/fetch", http.StatusOK)
	b.ClickHere("#go")
	b.WantComplaint("/gone.json")
	b.Open(url+"/console", http.StatusOK)
	b.WantComplaint("a bad")
}

func TestHasCookies(t *testing.T) {
	t.Parallel()
	b, url := browsertest.New(t), site(t)
	b.Open(url+"/cookie", http.StatusOK)
	stored := b.Another().Cookies()
	if len(stored) != 1 {
		t.Fatalf("got %d cookies in another tab, want 1", len(stored))
	}
	c := stored[0]
	if left := time.Until(c.Expires); left < 30*time.Second || left > 90*time.Second {
		t.Errorf("the cookie expires in %s, want about a minute", left)
	}
	c.Expires = time.Time{}
	if got, want := c.String(), "crumb=1; Path=/; Domain=127.0.0.1; HttpOnly; SameSite=Strict"; got != want {
		t.Errorf("the cookie is %s, want %s", got, want)
	}

	other := browsertest.New(t)
	other.Open(url+"/", http.StatusOK)
	if got := other.Cookies(); len(got) > 0 {
		t.Fatalf("another browser also has the cookie %s", got[0])
	}
	other.SetCookie(c)
	if got := other.Cookies(); len(got) != 1 || got[0].String() != c.String() {
		t.Errorf("got cookies %v after SetCookie, want a copy", got)
	}
}

func TestLooks(t *testing.T) {
	t.Parallel()
	dark := browsertest.Phone
	dark.Dark = true
	for _, test := range []struct {
		name       string
		screen     browsertest.Screen
		background string
		overflows  bool
		width      int // of the screenshot
	}{
		{"light desk", browsertest.Desk, "rgb(255, 255, 255)", false, 1280},
		{"dark phone", dark, "rgb(0, 0, 0)", true, 1200},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := browsertest.New(t)
			b.Show(test.screen)
			b.Open(site(t)+"/look", http.StatusOK)
			look := b.Look("p", "a, button")
			if look.Background != test.background {
				t.Errorf("the background is %s, want %s", look.Background, test.background)
			}
			if (look.Overflow > 0) != test.overflows {
				t.Errorf("the page is %v pixels too wide", look.Overflow)
			}
			if len(look.Contrasts) != 3 || look.Contrasts["P plain"] != 21 {
				t.Errorf("the contrasts are %v", look.Contrasts)
			}
			if !test.screen.Dark && (look.Contrasts["P pale"] > 4.5 || look.Contrasts["P twice"] > 4.5) {
				t.Errorf("the contrasts of pale texts are %v", look.Contrasts)
			}
			if !slices.Equal(look.Small, []string{"small"}) {
				t.Errorf("small targets are %q", look.Small)
			}
			b.Screenshot("look")
			picture, err := os.ReadFile(filepath.Join(t.ArtifactDir(), "look.png"))
			if err != nil {
				t.Fatal(err)
			}
			size, err := png.DecodeConfig(bytes.NewReader(picture))
			if err != nil || size.Width != test.width {
				t.Errorf("the screenshot is %d pixels wide, want %d: %v", size.Width, test.width, err)
			}
		})
	}
}
