package browsertest

import (
	"encoding/json"
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Eval evaluates a JavaScript expression in the page, waits for it where it is a
// promise, and returns its value, decoded from JSON. Its exception ends the test.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	return do(b, evaluate[T](expression))
}

func evaluate[T any](expression string) chromedp.Action[T] {
	return chromedp.Evaluate[T](expression, func(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) })
}

// on evaluates an expression about the first element that a selector matches,
// which it calls e.
func on[T any](b *Tab, selector, expression string) T {
	b.t.Helper()
	return Eval[T](b, fmt.Sprintf(`(e => {
		if (!e) throw new Error("nothing on the page matches " + %[1]s);
		return %[2]s;
	})(document.querySelector(%[1]s))`, quote(selector), expression))
}

// quote returns a JavaScript string.
func quote(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err) // no string has one
	}
	return string(quoted)
}

// Text is what a person sees of the first element that a selector matches.
func (b *Tab) Text(selector string) string {
	b.t.Helper()
	return on[string](b, selector, "e.innerText")
}

// Exists says whether a selector matches anything, be it seen or not. It does
// not wait: see [Tab.WaitFor].
func (b *Tab) Exists(selector string) bool {
	b.t.Helper()
	return Eval[bool](b, "document.querySelector("+quote(selector)+") !== null")
}

// Fill replaces what a field holds, as pasting would: the page sees the input,
// and the change once the field loses the focus, but no key. The field must be
// one that a person could type into.
func (b *Tab) Fill(selector, text string) {
	b.t.Helper()
	if !on[bool](b, selector, `(e.focus(), document.activeElement === e && e.matches(":read-write"))`) {
		b.t.Fatalf("nobody can type into %s", selector)
	}
	on[chromedp.Void](b, selector, `e.select ? e.select() : getSelection().selectAllChildren(e)`)
	if text == "" {
		b.Press(keyDelete)
		return
	}
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

// Select chooses a list's option by its value, and tells the page so.
func (b *Tab) Select(selector, value string) {
	b.t.Helper()
	ok := on[bool](b, selector, fmt.Sprintf(`(value => {
		const option = [...e.options].find(o => o.value === value);
		if (e.disabled || !option || option.disabled) return false;
		e.value = value;
		for (const type of ["input", "change"]) e.dispatchEvent(new Event(type, {bubbles: true}));
		return true;
	})(%s)`, quote(value)))
	if !ok {
		b.t.Fatalf("nobody can choose %q of %s", value, selector)
	}
}

// A Key is one of the keyboard, or several pressed one after another. Text is
// the keys that it is typed with.
type Key string

// Keys that have no character of their own.
const (
	KeyTab    Key = kb.Tab
	KeyEnter  Key = kb.Enter
	KeyEscape Key = kb.Escape
	KeySpace  Key = " "
	KeyUp     Key = kb.ArrowUp
	KeyDown   Key = kb.ArrowDown
	KeyLeft   Key = kb.ArrowLeft
	KeyRight  Key = kb.ArrowRight
	KeyHome   Key = kb.Home
	KeyEnd    Key = kb.End

	keyDelete Key = kb.Delete
)

// A Modifier is a key held while others are pressed.
type Modifier int64

// The modifiers.
const (
	Shift Modifier = Modifier(chromedp.ModifierShift)
	Ctrl  Modifier = Modifier(chromedp.ModifierCtrl)
	Alt   Modifier = Modifier(chromedp.ModifierAlt)
	Meta  Modifier = Modifier(chromedp.ModifierMeta)
)

// Press presses keys, wherever the focus is. Keys that lead to another page
// belong into [Tab.Navigate].
func (b *Tab) Press(keys Key, held ...Modifier) {
	b.t.Helper()
	do(b, chromedp.KeyEvent(string(keys), func(p *input.DispatchKeyEventParams) {
		for _, modifier := range held {
			p.Modifiers |= int64(modifier)
		}
	}))
}

// A Focus is the element that keys go to.
type Focus struct {
	Tag      string // in lower case; "body" is none
	ID, Name string // its attributes
	Text     string // its textContent
	Outline  string // the computed outline-style
	OnScreen bool   // whether it is on the screen without scrolling, in part at least
}

// String names the element as a person who reads the page's source would.
func (f Focus) String() string {
	switch {
	case f.ID != "":
		return "#" + f.ID
	case f.Name != "":
		return fmt.Sprintf("%s[name=%q]", f.Tag, f.Name)
	case f.Tag != "body" && f.Text != "":
		return fmt.Sprintf("%s %q", f.Tag, f.Text)
	}
	return f.Tag
}

// Focused is where the focus is.
func (b *Tab) Focused() Focus {
	b.t.Helper()
	return Eval[Focus](b, `(e => {
		const box = e.getBoundingClientRect();
		return {
			Tag: e.localName, ID: e.id, Name: e.getAttribute("name") ?? "", Text: e.textContent,
			Outline: getComputedStyle(e).outlineStyle,
			OnScreen: box.left >= 0 && box.top >= 0 && box.left < innerWidth && box.top < innerHeight,
		};
	})(document.activeElement)`)
}

// WaitFor waits until the page shows an element that a selector matches, without
// leaving the page: for what a script adds.
func (b *Tab) WaitFor(selector string) {
	b.t.Helper()
	b.WaitUntil("[...document.querySelectorAll(" + quote(selector) + ")].some(e => e.checkVisibility())")
}

// WaitForText waits until the first element that a selector matches has text in
// what is seen of it.
func (b *Tab) WaitForText(selector, text string) {
	b.t.Helper()
	b.WaitUntil("document.querySelector(" + quote(selector) + ")?.innerText.includes(" + quote(text) + ")")
}

// WaitUntil waits until a JavaScript expression is true in the page, without
// leaving the page. Its exception ends the test.
func (b *Tab) WaitUntil(condition string) {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	_, err := chromedp.Run(ctx, evaluate[bool](fmt.Sprintf(`new Promise((resolve, reject) => {
		const look = () => {
			try {
				if (%s) resolve(true); else setTimeout(look, 20);
			} catch (err) {
				reject(err);
			}
		};
		look();
	})`, condition)))
	if err != nil {
		b.t.Fatalf("waiting until %s: %v; the page is %q", condition, err, b.Text("body"))
	}
}
