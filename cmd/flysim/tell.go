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

// consoleVariable names a running "flysim serve", whose feed then shows the
// requests of the other commands too.
const consoleVariable = "FLYSIM_CONSOLE"

// tellConsole reports an exchange to the page that FLYSIM_CONSOLE names. The page
// is an extra: a command does not fail because it is not there.
func (p *program) tellConsole(e flytest.Exchange) {
	if p.lookupEnv == nil {
		return
	}
	address, _ := p.lookupEnv(consoleVariable)
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || checkLoopback("addr", u.Host) != nil {
		return // it holds secrets, which leave this machine in no case
	}
	report, err := console.Report(e)
	if err != nil {
		return
	}
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post(strings.TrimRight(address, "/")+console.ReportPath, "application/json", bytes.NewReader(report))
	if err == nil {
		answer.Body.Close()
	}
}
