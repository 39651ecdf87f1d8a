package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A mutant is one change of the code. All changes of a package are compiled into
// one program, each behind a question whether it is the one that is active: to
// try another is to run the same program again.
type mutant struct {
	id       int
	file     string
	line     int
	where    string // the function that it is in
	from, to string
}

// name tells a mutant from all others, wherever its function moves to.
func (m mutant) name() string { return fmt.Sprintf("%s %s: %s -> %s", m.file, m.where, m.from, m.to) }

// A source is a file that is being mutated. Mutation only ever inserts: what a
// mutant would do goes before or around what is there.
type source struct {
	name    string
	text    []byte
	fset    *token.FileSet
	syntax  *ast.File
	pkg     *types.Package
	info    *types.Info
	mutants *[]mutant
	edits   map[int]*edit // by offset
	where   string
}

type edit struct{ closing, opening string }

func (s *source) offset(at token.Pos) int { return s.fset.Position(at).Offset }

func (s *source) textOf(n ast.Node) string {
	return string(s.text[s.offset(n.Pos()):s.offset(n.End())])
}

// around puts code around a node. An outer node comes first: what it opens stays
// before, and what it closes behind.
func (s *source) around(n ast.Node, opening, closing string) {
	at := func(p token.Pos) *edit {
		e := s.edits[s.offset(p)]
		if e == nil {
			e = &edit{}
			s.edits[s.offset(p)] = e
		}
		return e
	}
	at(n.Pos()).opening += opening
	end := at(n.End())
	end.closing = closing + end.closing
}

// add enters a mutant and returns the question whether it is active.
func (s *source) add(n ast.Node, from, to string) string {
	m := mutant{
		id: len(*s.mutants) + 1, file: s.name, line: s.fset.Position(n.Pos()).Line, where: s.where,
		from: strings.Join(strings.Fields(from), " "), to: strings.Join(strings.Fields(to), " "),
	}
	name, twins := m.to, 1
	for slices.ContainsFunc(*s.mutants, func(o mutant) bool { return o.name() == m.name() }) {
		twins++
		m.to = name + " #" + strconv.Itoa(twins)
	}
	*s.mutants = append(*s.mutants, m)
	return fmt.Sprintf("mutantIs(%d)", m.id)
}

// result returns the text of the file with its mutants.
func (s *source) result() []byte {
	var b []byte
	last := 0
	offsets := make([]int, 0, len(s.edits))
	for at := range s.edits {
		offsets = append(offsets, at)
	}
	slices.Sort(offsets)
	for _, at := range offsets {
		b = append(append(b, s.text[last:at]...), s.edits[at].closing+s.edits[at].opening...)
		last = at
	}
	return append(b, s.text[last:]...)
}

// typeName writes a type as this file would, or "" where it cannot.
func (s *source) typeName(t types.Type) string {
	known := true
	name := types.TypeString(types.Default(t), func(p *types.Package) string {
		if p == s.pkg {
			return ""
		}
		for _, spec := range s.syntax.Imports {
			if imported, _ := strconv.Unquote(spec.Path.Value); imported == p.Path() {
				if spec.Name != nil {
					return spec.Name.Name
				}
				return p.Name()
			}
		}
		known = false
		return path.Base(p.Path())
	})
	if !known || strings.Contains(name, "invalid") || name == "untyped nil" {
		return ""
	}
	return name
}

// mutate enters all mutants of the file.
func (s *source) mutate() {
	ast.PreorderStack(s.syntax, nil, func(n ast.Node, stack []ast.Node) bool {
		var parent ast.Node
		if len(stack) > 0 {
			parent = stack[len(stack)-1]
		}
		s.where = "package"
		for _, outer := range append(stack, n) {
			if f, ok := outer.(*ast.FuncDecl); ok {
				s.where = f.Name.Name
			}
		}
		switch n := n.(type) {
		case *ast.GenDecl:
			return n.Tok == token.VAR // types and constants stay as they are
		case *ast.ArrayType, *ast.FuncType:
			return false
		case *ast.FuncDecl:
			return n.Body != nil
		}
		if stmt, ok := n.(ast.Stmt); ok && inList(parent, stmt) {
			s.statement(stmt, stack)
		}
		if expr, ok := n.(ast.Expr); ok {
			return s.expression(expr, parent)
		}
		return true
	})
}

// inList says that a statement is one of several, not a part of another one.
func inList(parent ast.Node, stmt ast.Stmt) bool {
	switch p := parent.(type) {
	case *ast.BlockStmt:
		return true
	case *ast.CaseClause:
		return slices.Contains(p.Body, stmt)
	case *ast.CommClause:
		return slices.Contains(p.Body, stmt)
	}
	return false
}

// statement drops a statement, and has a return return something else.
func (s *source) statement(stmt ast.Stmt, stack []ast.Node) {
	switch n := stmt.(type) {
	case *ast.ReturnStmt:
		s.returns(n, stack)
		return
	case *ast.AssignStmt:
		if n.Tok == token.DEFINE {
			return
		}
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok && s.textOf(call.Fun) == "panic" {
			return // after which the compiler expects nothing
		}
	case *ast.BranchStmt:
		if n.Tok != token.BREAK && n.Tok != token.CONTINUE {
			return
		}
	case *ast.IncDecStmt, *ast.DeferStmt, *ast.GoStmt, *ast.SendStmt:
	default:
		return
	}
	s.around(stmt, "if !"+s.add(stmt, s.textOf(stmt), "(nothing)")+" { ", " }")
}

// returns has a function return no error for one, one for none, and nothing for
// something.
func (s *source) returns(n *ast.ReturnStmt, stack []ast.Node) {
	var results *types.Tuple
	for _, outer := range stack {
		switch f := outer.(type) {
		case *ast.FuncDecl:
			results = s.info.Defs[f.Name].Type().(*types.Signature).Results()
		case *ast.FuncLit:
			results = s.info.Types[f].Type.(*types.Signature).Results()
		}
	}
	if len(n.Results) == 0 {
		return
	}
	values, zeros, errs := make([]string, results.Len()), make([]string, results.Len()), make([]string, results.Len())
	hasZeros, hasErrs, failed := false, false, false
	for i := range results.Len() {
		t := results.At(i).Type()
		isError := types.Identical(t, types.Universe.Lookup("error").Type())
		zero := "nil"
		if !isError {
			if zero = s.typeName(t); zero == "" {
				return
			}
			zero = "*new(" + zero + ")"
		}
		if len(n.Results) != len(values) { // a call of several results
			zeros[i], hasZeros = zero, true
			continue
		}
		values[i] = s.textOf(n.Results[i])
		zeros[i], errs[i] = values[i], values[i]
		basic, _ := t.Underlying().(*types.Basic)
		switch isBool := basic != nil && basic.Info()&types.IsBoolean != 0; {
		case isError && values[i] == "nil":
			errs[i], hasErrs = "mutantError()", true
		case isError: // beside which nobody looks at the others
			errs[i], hasErrs, failed = "nil", true, true
		case isBool:
			if _, named := n.Results[i].(*ast.Ident); named && s.info.Types[n.Results[i]].Value == nil {
				s.around(n.Results[i], "(", ") != "+s.add(n, values[i], "!"+values[i]))
			}
		case values[i] != "nil" && values[i] != `""` && values[i] != "0" && !strings.HasSuffix(values[i], "{}"):
			zeros[i], hasZeros = zero, true
		}
	}
	from := s.textOf(n)
	for _, other := range []struct {
		has    bool
		values []string
	}{{hasZeros && !failed, zeros}, {hasErrs, errs}} {
		if to := "return " + strings.Join(other.values, ", "); other.has && to != from {
			s.around(n, "if "+s.add(n, from, to)+" { "+to+" }; ", "")
		}
	}
}

var swaps = map[token.Token]token.Token{
	token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR, token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LAND: token.LOR, token.LOR: token.LAND, token.ADD: token.SUB, token.SUB: token.ADD,
}

// expression mutates an expression and says whether to look into it.
func (s *source) expression(n ast.Expr, parent ast.Node) bool {
	tv := s.info.Types[n]
	if tv.IsType() {
		return false
	}
	text := s.textOf(n)
	condition := false
	switch p := parent.(type) {
	case *ast.IfStmt:
		condition = n == p.Cond
	case *ast.ForStmt:
		if n == p.Cond { // for ever is seldom seen as a failure before long
			s.around(n, "(", ") && !"+s.add(n, text, "false"))
		}
	case *ast.CaseClause:
		condition = tv.Value == nil && isBool(tv.Type)
		if name := s.typeName(tv.Type); tv.Value != nil && name != "" {
			never := map[constant.Kind]string{constant.String: `"mutant"`, constant.Int: "^" + name + "(" + text + ")"}[tv.Value.Kind()]
			if never != "" {
				s.around(n, "mutantOr["+name+"]("+s.add(n, "case "+text, "(nothing)")+", "+never+", ", ")")
				return false
			}
		}
	case *ast.KeyValueExpr:
		if n == p.Key {
			return false
		}
		s.field(p, text, tv)
	}
	if condition {
		s.around(n, "((", ") && !"+s.add(n, text, "false")+")")
		s.around(n, "((", ") || "+s.add(n, text, "true")+")")
	}
	if tv.Value != nil {
		s.constant(n, parent, text, tv)
		return false
	}
	switch n := n.(type) {
	case *ast.UnaryExpr:
		if n.Op == token.NOT && !condition {
			s.around(n, "((", ") != "+s.add(n, text, s.textOf(n.X))+")")
		}
	case *ast.BinaryExpr:
		s.binary(n, condition, tv)
	case *ast.CallExpr: // the length of what is made is seldom seen
		return s.textOf(n.Fun) != "make"
	case *ast.SelectorExpr:
		return !s.info.Types[n.X].IsType()
	}
	return true
}

func isBool(t types.Type) bool {
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0
}

// binary swaps an operator, and drops either side of a logical one.
func (s *source) binary(n *ast.BinaryExpr, condition bool, tv types.TypeAndValue) {
	x, y := s.textOf(n.X), s.textOf(n.Y)
	become := func(to string) {
		is := s.add(n, s.textOf(n), to)
		s.around(n, "("+is+" && ("+to+") || !"+is+" && (", "))")
	}
	other, ok := swaps[n.Op]
	swapped := x + " " + other.String() + " " + y
	switch n.Op {
	case token.LAND, token.LOR:
		become(swapped)
		become(x)
		become(y)
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		become(swapped)
		if !condition {
			become("!(" + s.textOf(n) + ")")
		}
	case token.EQL, token.NEQ:
		if !condition { // which is made true and false already
			become(swapped)
		}
	default:
		basic, numeric := tv.Type.Underlying().(*types.Basic)
		if name := s.typeName(tv.Type); ok && numeric && basic.Info()&types.IsNumeric != 0 && name != "" {
			s.around(n, "mutantOr["+name+"]("+s.add(n, s.textOf(n), swapped)+", "+swapped+", ", ")")
		}
	}
}

// constant makes a whole number one more, and true of false.
func (s *source) constant(n ast.Expr, parent ast.Node, text string, tv types.TypeAndValue) {
	name := s.typeName(tv.Type)
	_, returned := parent.(*ast.ReturnStmt)
	switch {
	case name == "" || returned && text == "0": // beside an error, most often
	case tv.Value.Kind() == constant.Int && types.Default(tv.Type).Underlying().(*types.Basic).Info()&types.IsInteger != 0:
		more := text + " + 1"
		if name == "time.Duration" && constant.Sign(tv.Value) != 0 { // of which a nanosecond is nothing
			more = "2 * (" + text + ")"
			if i, ok := constant.Int64Val(tv.Value); !ok || i > math.MaxInt64/2 || i < math.MinInt64/2 {
				more = text + " / 2"
			}
		}
		s.around(n, "mutantOr["+name+"]("+s.add(n, text, more)+", "+more+", ", ")")
	case tv.Value.Kind() == constant.Bool:
		s.around(n, "(", " != "+s.add(n, text+" in "+s.lineOf(cmp.Or[ast.Node](parent, n)), "!"+text)+")")
	}
}

// lineOf returns the start of a node's text, to tell it by.
func (s *source) lineOf(n ast.Node) string {
	line, _, _ := strings.Cut(s.textOf(n), "\n")
	return line
}

// field leaves a field out of a literal.
func (s *source) field(p *ast.KeyValueExpr, text string, tv types.TypeAndValue) {
	key, ok := p.Key.(*ast.Ident)
	if !ok || tv.IsNil() || tv.Value != nil && tv.Value.Kind() != constant.String {
		return
	}
	v, ok := s.info.Uses[key].(*types.Var)
	if !ok || !v.IsField() {
		return
	}
	if name := s.typeName(v.Type()); name != "" {
		s.around(p.Value, "mutantOr["+name+"]("+s.add(p, key.Name+": "+text, "(nothing)")+", *new("+name+"), ", ")")
	}
}
