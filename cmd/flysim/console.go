package main

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext/cmd/flysim/internal/console"
	"github.com/flyext/flyext/flytest"
)

// consoleVariable contains the URL of a running "flysim serve". Its feed then also
// shows the requests of other commands.
const consoleVariable = "FLYSIM_CONSOLE"

// reportToConsole reports an exchange to the page that FLYSIM_CONSOLE names. It ignores
// errors, because commands also work without a page, and reports nothing after one.
func (p *program) reportToConsole(e flytest.Exchange) {
	if p.lookupEnv == nil || p.consoleGone {
		return
	}
	address, _ := p.lookupEnv(consoleVariable)
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || checkLoopback("addr", u.Host) != nil {
		return // an exchange contains secrets, which must not leave this machine
	}
	report, err := console.Report(e)
	if err != nil {
		return
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post(strings.TrimRight(address, "/")+console.ReportPath, "application/json", bytes.NewReader(report))
	if err != nil {
		p.consoleGone = true
		return
	}
	answer.Body.Close()
}
