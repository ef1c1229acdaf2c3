package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// hostile are texts that would be markup, style or a reference if they were not text.
func hostile() []string {
	return []string{
		`<script>alert(1)</script>`, `"><image href=x onerror=alert(1)>`, `' onload='alert(1)`, `]]><svg/onload=alert(1)>`, `<!--`, `-->`, `&lt;b&gt;`, `&#x3c;script&#x3e;`, `<?xml version="1.0"?>`,
		`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;`, `</style><script>`, `}*{fill:url(//evil)}`, "\x00\x07\x1b[31m", "\u202egnp.exe", "a\u200bb", "\xff\xfe", strings.Repeat("ü", 16<<10), "日本語のリポジトリ", "",
	}
}

// parsed is a picture as a strict reader of XML sees it.
func parsed(t *testing.T, svg []byte) (names map[string]int, attributes map[string]int, said string) {
	t.Helper()
	names, attributes = map[string]int{}, map[string]int{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names, attributes, said
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			names[token.Name.Local]++
			for _, a := range token.Attr {
				attributes[a.Name.Local]++
			}
		case xml.CharData:
			said += string(token)
		case xml.ProcInst, xml.Directive, xml.Comment:
			t.Fatalf("%T in %s", token, svg)
		}
	}
}

func TestAnyTextIsTextInAPicture(t *testing.T) {
	known := func(t *testing.T, svg []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		names, attributes, said := parsed(t, svg)
		for name := range names {
			if !strings.Contains(" svg title style rect g text tspan path circle clipPath ", " "+name+" ") {
				t.Errorf("an element %s in %s", name, svg)
			}
		}
		for name := range attributes {
			if strings.HasPrefix(name, "on") || strings.Contains(name, "href") || name == "style" {
				t.Errorf("an attribute %s in %s", name, svg)
			}
		}
		if names["style"] > 1 || len(svg) > 16<<10 {
			t.Errorf("%d styles, %d bytes", names["style"], len(svg))
		}
		return said
	}
	for _, h := range hostile() {
		svg, err := Badge{Label: h, Message: h, Tone: Neutral}.SVG()
		known(t, svg, err)
		svg, err = Card{Title: h, Subtitle: h, Figure: h, Caption: h, Legend: h, Foot: h, Changes: []Change{{Value: h, Caption: h, Tone: Rise}}, Line: []*float64{nil, new(1.0)}}.SVG()
		known(t, svg, err)
	}
	svg, err := Badge{Label: `a<b & "c"`, Message: "\u202e+1\x07", Tone: Rise}.SVG()
	if said := known(t, svg, err); said != `a<b & "c": +1`+`a<b & "c"`+"+1\n" {
		t.Errorf("it says %q", said)
	}
}

func TestALineBreaksWhereNothingWasRead(t *testing.T) {
	v := func(x float64) *float64 { return &x }
	svg, err := Card{Line: []*float64{v(1), v(2), nil, v(5), nil, v(3), v(3)}}.SVG()
	if err != nil {
		t.Fatal(err)
	}
	if names, _, _ := parsed(t, svg); names["path"] != 4 || names["circle"] != 1 { // a line and the area below it, twice; one day alone
		t.Errorf("%v in %s", names, svg)
	}
	for _, line := range [][]*float64{nil, {nil, nil}} {
		if svg, err = (Card{Line: line}).SVG(); err != nil || !strings.Contains(string(svg), "nothing was read") {
			t.Errorf("%s, %v", svg, err)
		}
	}
	if svg, err = (Card{Line: []*float64{v(7)}}).SVG(); err != nil || strings.Contains(string(svg), "NaN") {
		t.Errorf("%s, %v", svg, err)
	}
}

// Who cannot see a picture reads the same in its label.
func TestAPictureSaysInWordsWhatItShows(t *testing.T) {
	svg, err := Card{Title: "acme/tool", Figure: "1,200", Caption: "stars", Changes: []Change{{"+7", "in 7 days", Rise}}}.SVG()
	if err != nil || !strings.Contains(string(svg), `aria-label="acme/tool, 1,200 stars, +7 in 7 days"`) {
		t.Errorf("%s, %v", svg, err)
	}
	svg, err = Badge{Label: "stars", Message: "12", Tone: Neutral}.SVG()
	if err != nil || !strings.Contains(string(svg), `aria-label="stars: 12"`) {
		t.Errorf("%s, %v", svg, err)
	}
}
