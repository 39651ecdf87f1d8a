package browsertest

import (
	"encoding/json"
	"fmt"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Eval evaluates a JavaScript expression in the page, awaits it if it is a promise,
// and returns its value, decoded from JSON. An exception ends the test.
func Eval[T any](b *Tab, expression string) T {
	b.t.Helper()
	return do(b, evaluate[T](expression))
}

func evaluate[T any](expression string) chromedp.Action[T] {
	return chromedp.Evaluate[T](expression, func(p *runtime.EvaluateParams) { p.AwaitPromise = new(true) })
}

// on evaluates an expression in which e is the first element that matches a
// selector.
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
		panic(err) // impossible for a string
	}
	return string(quoted)
}

// Text returns the visible text of the first element that matches a selector.
func (b *Tab) Text(selector string) string {
	b.t.Helper()
	return on[string](b, selector, "e.innerText")
}

// Exists reports whether a selector matches an element, visible or not. It does not
// wait; see [Tab.WaitFor].
func (b *Tab) Exists(selector string) bool {
	b.t.Helper()
	return Eval[bool](b, "document.querySelector("+quote(selector)+") !== null")
}

// Fill replaces the content of a field, as pasting would: the page gets an input
// event, and a change event when the field loses focus, but no key events. The
// field must be editable.
func (b *Tab) Fill(selector, text string) {
	b.t.Helper()
	if !on[bool](b, selector, `(e.focus(), document.activeElement === e && e.matches(":read-write"))`) {
		b.t.Fatalf("%s is not editable", selector)
	}
	on[chromedp.Void](b, selector, `e.select ? e.select() : getSelection().selectAllChildren(e)`)
	if text == "" {
		b.Press(keyDelete)
		return
	}
	call(b, input.InsertText, input.InsertTextParams{Text: text})
}

// Select selects an option of a list by value and sends the events for it.
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
		b.t.Fatalf("option %q of %s is missing or disabled", value, selector)
	}
}

// A Key is one or more keys of the keyboard, pressed one at a time. A text stands
// for the keys that type it.
type Key string

// Keys without a character.
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

// A Modifier is a key that is held while other keys are pressed.
type Modifier int64

// The modifier keys.
const (
	Shift Modifier = Modifier(chromedp.ModifierShift)
	Ctrl  Modifier = Modifier(chromedp.ModifierCtrl)
	Alt   Modifier = Modifier(chromedp.ModifierAlt)
	Meta  Modifier = Modifier(chromedp.ModifierMeta)
)

// Press presses keys in the focused element. For keys that open another page, use
// [Tab.Navigate].
func (b *Tab) Press(keys Key, held ...Modifier) {
	b.t.Helper()
	do(b, chromedp.KeyEvent(string(keys), func(p *input.DispatchKeyEventParams) {
		for _, modifier := range held {
			p.Modifiers |= int64(modifier)
		}
	}))
}

// A Focus is the focused element.
type Focus struct {
	Tag      string // in lower case; "body" means that nothing has the focus
	ID, Name string // attributes
	Text     string // its textContent
	Outline  string // the computed outline-style
	OnScreen bool   // whether its top left corner is visible without scrolling
}

// String identifies the element by its id, name or text.
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

// Focused returns the focused element.
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

// WaitFor waits until the page shows an element that matches a selector, for
// example one that a script adds.
func (b *Tab) WaitFor(selector string) {
	b.t.Helper()
	b.WaitUntil("[...document.querySelectorAll(" + quote(selector) + ")].some(e => e.checkVisibility())")
}

// WaitForText waits until the visible text of the first element that matches a
// selector contains text.
func (b *Tab) WaitForText(selector, text string) {
	b.t.Helper()
	b.WaitUntil("document.querySelector(" + quote(selector) + ")?.innerText.includes(" + quote(text) + ")")
}

// WaitUntil waits until a JavaScript expression is true in the page. An exception
// ends the test.
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
		b.t.Fatalf("waiting until %s: %v; the page shows %q", condition, err, b.Text("body"))
	}
}
