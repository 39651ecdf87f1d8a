package main

import (
	"encoding/xml"
	"fmt"
	"io"

	"github.com/flyext/flyext/flytest"
)

// The elements of JUnit XML that the reporters of Jenkins, GitLab and GitHub read.
// Each group is a suite, and each requirement is a case.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Time     string       `xml:"time,attr"` // in seconds
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
		seconds  float64
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitProblem `xml:"failure"`
		Error   *junitProblem `xml:"error"`
		Skipped *junitProblem `xml:"skipped"`
	}
	junitProblem struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes the results. If the run ended early, it adds the error, so that
// CI reports the missing tests.
func (p *program) writeJUnit(w io.Writer, results *flytest.Report, broke error) error {
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(p.junitReport(results, broke)); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// junitReport returns the results as suites. broke is the error with which the run
// ended early, or nil.
func (p *program) junitReport(results *flytest.Report, broke error) junitSuites {
	all := junitSuites{
		Name: "flysim check", Tests: len(results.Results), Time: junitTime(results.Duration.Seconds()),
		Failures: results.Count(flytest.Failed), Skipped: results.Count(flytest.Skipped),
	}
	for _, result := range results.Results {
		p.addJUnitCase(all.suite(result.Group), result)
	}
	if broke != nil {
		all.Tests++
		all.Errors++
		all.Suites = append(all.Suites, junitSuite{Name: "flysim", Tests: 1, Errors: 1, Cases: []junitCase{{
			Class: "flysim", Name: "the run is complete", Time: junitTime(0),
			Error: &junitProblem{Message: visible(p.redact(p.explain(broke)))},
		}}})
	}
	for i := range all.Suites {
		all.Suites[i].Time = junitTime(all.Suites[i].seconds)
	}
	return all
}

// suite returns the suite of a group: the last one, or a new one.
func (all *junitSuites) suite(group string) *junitSuite {
	n := len(all.Suites)
	if n == 0 || all.Suites[n-1].Name != group {
		all.Suites = append(all.Suites, junitSuite{Name: group})
		n++
	}
	return &all.Suites[n-1]
}

// addJUnitCase adds a result to its suite.
func (p *program) addJUnitCase(suite *junitSuite, result flytest.Result) {
	suite.Tests++
	suite.seconds += result.Duration.Seconds()
	one := junitCase{Class: "flysim." + result.Group, Name: result.ID + ": " + result.Text, Time: junitTime(result.Duration.Seconds())}
	switch result.Verdict {
	case flytest.Failed:
		suite.Failures++
		one.Failure = p.junitFailure(result)
	case flytest.Skipped:
		suite.Skipped++
		one.Skipped = &junitProblem{Message: visible(p.redact(result.Reason))}
	}
	suite.Cases = append(suite.Cases, one)
}

func (p *program) junitFailure(result flytest.Result) *junitProblem {
	text := ""
	if sent, details := sentOf(result); sent != "" {
		text = "sent: " + sent + "\n"
		for _, detail := range details {
			text += "      " + detail + "\n"
		}
	}
	text += "want: " + result.Want + "\ngot: " + result.Got + "\nfix: " + result.Fix + "\nsource: " + result.Source + "\n"
	return &junitProblem{
		Message: visible(p.redact("want " + result.Want + ", got " + result.Got)),
		Text:    visible(p.redact(text)),
	}
}

func junitTime(seconds float64) string { return fmt.Sprintf("%.3f", seconds) }
