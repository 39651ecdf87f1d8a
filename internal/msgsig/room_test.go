package msgsig

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// In a room that was used before, a message is what it is in a new one.
func TestRoomIsUsedAgain(t *testing.T) {
	t.Parallel()
	parsers := map[string]func(http.Header, *Room) ([]Signature, error){
		"RFC 9421": ParseRFC9421, "cavage": ParseCavage, "zntrio": ParseZntrio,
	}
	messages := []struct {
		parser string
		header http.Header
	}{
		{"RFC 9421", http.Header{
			"Signature-Input": {`a=("date" "content-digest";key="sha-256");created=1;keyid="k";nonce="n", b=("@method")`},
			"Signature":       {`a=:AAAA:, b=:AQID:`},
		}},
		{"cavage", http.Header{"Signature": {`keyId="c",headers="(request-target) date digest",created=3,signature="AAAA"`}}},
		{"RFC 9421", http.Header{"Signature-Input": {`c=("content-digest")`}, "Signature": {`c=:AAAA:`}}},
		{"zntrio", http.Header{"Signature-Input": {`s=(@request-target, date); keyid="z"`}, "Signature": {`s=:AAAA:`}}},
		{"cavage", http.Header{"Signature": {`keyId="d",signature="AAAA"`}}},
		{"RFC 9421", http.Header{"Signature-Input": {`c=(`}, "Signature": {`c=:AAAA:`}}},
	}
	const is256 = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=" // of abc
	read := func(parser string, h http.Header, room *Room) (read string) {
		h = h.Clone()
		h["Date"], h["Digest"] = []string{"Thu, 01 Jun 2023 17:39:19 GMT"}, []string{"SHA-256=" + is256}
		h["Content-Digest"] = []string{"sha-256=:" + is256 + ":, md5=:AAAA:"}
		m := &Message{Method: "POST", Scheme: "https", Host: "logjam.org", Target: "/", Header: h, Body: []byte("abc")}
		signatures, err := parsers[parser](h, room)
		for i := range signatures {
			if err == nil {
				s := &signatures[i]
				base, errBase := s.AppendBase(nil, m, Options{})
				errDigest := s.CheckDigests(m.Body)
				s.room = nil // which is another one
				read += fmt.Sprintf("%+v %s %v %v\n", *s, base, errBase, errDigest)
			}
		}
		return read + fmt.Sprint(err)
	}
	room := new(Room)
	for range 3 {
		for i, m := range messages {
			got, want := read(m.parser, m.header, room), read(m.parser, m.header, new(Room))
			if got != want {
				t.Errorf("message %d: got  %s\nwant %s", i, got, want)
			}
			room.Reset()
		}
	}
}

// Nothing of a message stays in a room that was reset, and a large one gives its
// memory back.
func TestRoomForgets(t *testing.T) {
	t.Parallel()
	list := func(n int) http.Header {
		inputs, values := make([]string, n), make([]string, n)
		for i := range inputs {
			label := strings.Repeat("a", i+1)
			inputs[i], values[i] = label+`=("x";p "y");keyid="k";tag="t"`, label+"=:AAAA:"
		}
		return http.Header{"Signature-Input": inputs, "Signature": values}
	}
	room := new(Room)
	for _, n := range []int{2, 2, 30} { // the first of them makes the room as large as it will be
		signatures, err := ParseRFC9421(list(n), room)
		if err != nil || len(signatures) != n {
			t.Fatalf("%d signatures, %v", len(signatures), err)
		}
		items := signatures[n-1].components
		room.Reset()
		if cap(room.signatures) > maxKept {
			t.Errorf("memory for %d signatures is kept", cap(room.signatures))
		}
		if n < maxKept && (signatures[n-1].KeyID != "" || items[1].Raw != "") {
			t.Errorf("what was read is still there: %+v", signatures)
		}
	}
	// Of a message that is no RFC 9421, and is read as zntrio's then.
	h := list(3)
	h["Signature"][2] = "other=:AAAA:"
	if _, err := ParseRFC9421(h, room); err == nil {
		t.Error("signatures of different labels are read")
	}
	first := room.signatures
	if _, err := ParseZntrio(http.Header{"Signature-Input": {`s=(date); keyid="z"`}, "Signature": {`s=:AAAA:`}}, room); err != nil {
		t.Fatal(err)
	}
	if room.Reset(); first[0].KeyID != "" || first[1].KeyID != "" || first[0].params != "" || first[1].params != "" {
		t.Errorf("what was read is still there: %+v", first)
	}
	if _, err := ParseCavage(http.Header{"Signature": {`keyId="c",headers="date",signature="AAAA"`}}, room); err != nil {
		t.Fatal(err)
	}
	names := room.components
	if room.Reset(); names[0].Value.Text != "" {
		t.Errorf("what was read is still there: %+v", names)
	}
}

// What a stranger covers 64 times is held once. It does not run beside others,
// whose memory would count.
func TestCoveredDigestsAreNotHeld(t *testing.T) {
	const signed = 64
	field := "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"
	for i := range 16 {
		field += fmt.Sprintf(", k%d=:AAAA:", i)
		for j := range 60 {
			field += fmt.Sprintf(";p%d", j)
		}
	}
	inputs, values := make([]string, signed), make([]string, signed)
	for i := range signed {
		inputs[i], values[i] = fmt.Sprintf(`s%d=("content-digest")`, i), fmt.Sprintf("s%d=:AAAA:", i)
	}
	m := &Message{Body: []byte("abc"), Header: http.Header{
		"Content-Digest": {field}, "Signature-Input": inputs, "Signature": values,
	}}
	held := func() int64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	room := new(Room)
	before := held()
	signatures, err := ParseRFC9421(m.Header, room)
	if err != nil {
		t.Fatal(err)
	}
	var base []byte
	for i := range signatures {
		if base, err = signatures[i].AppendBase(base[:0], m, Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if grown := held() - before; grown > 1<<20 {
		t.Errorf("%d signatures of one digest hold %d bytes", signed, grown)
	}
	if err := signatures[signed-1].CheckDigests(m.Body); err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(room)
}
