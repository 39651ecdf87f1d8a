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

// A console has what a tab's pages complained of.
type console struct {
	mu         sync.Mutex
	complaints []complaint
	documents  map[network.RequestID]bool // which the tab itself went to
	news       chan struct{}              // has one after a complaint
}

type complaint struct {
	text    string
	request network.RequestID // that failed, or empty
}

// listen collects complaints until the tab closes, and reports what is left of
// them then.
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

// isFavicon tells what Chromium asks for of its own accord, and only sometimes.
func isFavicon(e *log.Entry) bool {
	u, err := url.Parse(e.URL)
	return err == nil && e.Source == log.EntrySourceNetwork && u.Path == "/favicon.ico"
}

// values are arguments of the console's, as far as they are text.
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

// report fails the test for what the page complained of and nobody wanted. The
// status of a page that the tab went to is its caller's to judge.
func (b *Tab) report() {
	b.t.Helper()
	// What the page said before it answers has arrived when it does.
	ctx, cancel := context.WithTimeout(b.ctx, min(b.patience, 10*time.Second))
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.Evaluate[int]("1")); err != nil {
		b.t.Logf("the page does not answer, and may have complained of more: %v", err)
	}
	c := &b.console
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, complaint := range c.complaints {
		if !c.documents[complaint.request] {
			b.t.Errorf("the page complains: %s", complaint.text)
		}
	}
	c.complaints = nil
}

// WantComplaint waits until the page complains in its console of something that
// has text in it: one that the test provoked, and that is none of its failures.
// Other complaints stay failures, and so does the same one said twice.
func (b *Tab) WantComplaint(text string) {
	b.t.Helper()
	ctx, cancel := b.step()
	defer cancel()
	for !b.console.take(text) {
		select {
		case <-b.console.news:
		case <-ctx.Done():
			b.t.Fatal(fmt.Errorf("waiting for a complaint of %q: %w", text, ctx.Err()))
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
