package console

import (
	"fmt"
	"slices"
	"strings"
)

// maxDiffLines bounds the texts that are compared. The time grows with the
// product of their line counts.
const maxDiffLines = 600

// A diffView is the difference between an answer and the one before it.
type diffView struct {
	To    int // the record of the earlier answer
	Same  bool
	Large bool // too large to be compared line by line
	Lines []diffLine
}

// A diffLine is a line with its sign: "+" if it was added, "-" if it was removed,
// " " if both texts have it.
type diffLine struct{ Sign, Text string }

// diffOf compares a record's answer with the previous answer to the same method
// and path. It returns nil if there is no previous answer. The console is locked.
func (c *Console) diffOf(r *record) *diffView {
	if !r.wire.answered() {
		return nil
	}
	at := slices.Index(c.feed, r)
	if at < 0 {
		return nil
	}
	for _, before := range slices.Backward(c.feed[:at]) {
		if before.wire == nil || !before.wire.answered() || before.wire.incoming != r.wire.incoming || before.wire.place() != r.wire.place() {
			continue
		}
		v := &diffView{To: before.n}
		old, fresh := before.wire.answerLines(), r.wire.answerLines()
		switch {
		case slices.Equal(old, fresh):
			v.Same = true
		case len(old) > maxDiffLines || len(fresh) > maxDiffLines:
			v.Large = true
		default:
			v.Lines = nearChanges(diff(old, fresh))
		}
		return v
	}
	return nil
}

// place returns the method and the path, without the query.
func (w *wire) place() string {
	path, _, _ := strings.Cut(w.target, "?")
	return w.method + " " + path
}

func (w *wire) answerLines() []string {
	lines := []string{fmt.Sprint("status ", w.status)}
	if len(w.answerBody) > 0 {
		lines = append(lines, indented(w.answerBody)...)
	}
	return lines
}

// diff returns the shortest list of lines that turns one text into the other.
func diff(old, fresh []string) []diffLine {
	common := make([][]int, len(old)+1) // the longest common subsequences of the tails
	for i := range common {
		common[i] = make([]int, len(fresh)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(fresh) - 1; j >= 0; j-- {
			if old[i] == fresh[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []diffLine
	i, j := 0, 0
	for i < len(old) || j < len(fresh) {
		switch {
		case i < len(old) && j < len(fresh) && old[i] == fresh[j]:
			lines = append(lines, diffLine{" ", old[i]})
			i, j = i+1, j+1
		case j == len(fresh) || i < len(old) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, diffLine{"-", old[i]})
			i++
		default:
			lines = append(lines, diffLine{"+", fresh[j]})
			j++
		}
	}
	return lines
}

// nearChanges drops the lines that are far from any change.
func nearChanges(lines []diffLine) []diffLine {
	const near = 3
	var kept []diffLine
	for i, line := range lines {
		around := lines[max(0, i-near):min(len(lines), i+near+1)]
		if slices.ContainsFunc(around, func(l diffLine) bool { return l.Sign != " " }) {
			kept = append(kept, line)
		} else if len(kept) > 0 && kept[len(kept)-1].Text != "…" {
			kept = append(kept, diffLine{" ", "…"})
		}
	}
	return kept
}
