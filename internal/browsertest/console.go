package browsertest

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// A console collects the errors in the consoles of a tab's pages.
type console struct {
	mu         sync.Mutex
	complaints []complaint
	documents  map[network.RequestID]bool // pages that the tab opened
	news       chan struct{}              // receives a value after a complaint
}

type complaint struct {
	text    string
	request network.RequestID // the failed request, or ""
}

// listen collects complaints until the tab closes. It then fails the test for those
// that the test did not want.
func (b *Tab) listen() {
	b.t.Helper()
	c := &b.console
	c.documents, c.news = make(map[network.RequestID]bool), make(chan struct{}, 1)
	tab := string(chromedp.FromContext(b.ctx).Target.TargetID)
	err := chromedp.Listen(b.ctx, func(event any) {
		switch e := event.(type) {
		case *network.EventResponseReceived:
			if e.Type == network.ResourceTypeDocument && string(e.FrameID) == tab {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.documents[e.RequestID] = true
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.EntryLevelError && !isFavicon(e.Entry) {
				c.add(e.Entry.Text, e.Entry.URL, e.Entry.NetworkRequestID)
			}
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
				c.add("console."+string(e.Type)+": "+values(e.Args), "", "")
			}
		case *runtime.EventExceptionThrown:
			d := e.ExceptionDetails
			text := d.Text
			if d.Exception != nil {
				text += " " + values([]*runtime.RemoteObject{d.Exception})
			}
			c.add(text, d.URL, "")
		}
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.report)
}

// isFavicon reports whether the error is about a favicon, which Chromium sometimes
// requests by itself.
func isFavicon(e *log.Entry) bool {
	u, err := url.Parse(e.URL)
	return err == nil && e.Source == log.EntrySourceNetwork && u.Path == "/favicon.ico"
}

// values returns the text of console arguments.
func values(args []*runtime.RemoteObject) string {
	var texts []string
	for _, arg := range args {
		if arg.Description != "" {
			texts = append(texts, arg.Description)
		} else {
			texts = append(texts, strings.Trim(string(arg.Value), `"`))
		}
	}
	return strings.Join(texts, " ")
}

func (c *console) add(text, place string, request network.RequestID) {
	if place != "" {
		text += " (" + place + ")"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complaints = append(c.complaints, complaint{text, request})
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// report fails the test for unwanted complaints. It ignores the status of pages
// that the tab opened, which the caller checks.
func (b *Tab) report() {
	b.t.Helper()
	// When the page responds, its earlier messages have arrived.
	ctx, cancel := context.WithTimeout(b.ctx, min(b.patience, 10*time.Second))
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int]("1")); err != nil {
		b.t.Logf("the page does not respond, so later complaints may be missing: %v", err)
	}
	c := &b.console
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, complaint := range c.complaints {
		if !c.documents[complaint.request] {
			b.t.Errorf("console error: %s", complaint.text)
		}
	}
	c.complaints = nil
}

// WantComplaint waits for an error in the console that contains text and was
// provoked by the test. That error does not fail the test. Other errors do, and so
// does a second one with the same text.
func (b *Tab) WantComplaint(text string) {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	for !b.console.take(text) {
		select {
		case <-b.console.news:
		case <-ctx.Done():
			b.t.Fatal(fmt.Errorf("waiting for a console error with %q: %w", text, ctx.Err()))
		}
	}
}

func (c *console) take(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.complaints, func(each complaint) bool { return strings.Contains(each.text, text) })
	if i < 0 {
		return false
	}
	c.complaints = slices.Delete(c.complaints, i, i+1)
	return true
}
