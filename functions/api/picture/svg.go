// Package picture draws badges and cards as SVG. It is given texts of any kind: they
// become character data of XML and nothing else.
package picture

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// Type is the media type of the pictures.
const Type = "image/svg+xml"

// Policy is the content policy of a picture that is opened by itself: it runs nothing
// and loads nothing. As an image in a page it could not anyway.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

// element is one of XML, whose names are ours.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Elements []element  `xml:",any"`
}

// el makes an element; attributes are pairs of names and values.
func el(name string, attributes []string, children ...element) element {
	e := element{XMLName: xml.Name{Local: name}, Elements: children}
	for i := 0; i < len(attributes); i += 2 {
		e.Attrs = append(e.Attrs, xml.Attr{Name: xml.Name{Local: attributes[i]}, Value: attributes[i+1]})
	}
	return e
}

// text makes an element that holds a text.
func text(name, content string, attributes ...string) element {
	e := el(name, attributes)
	e.Text = content
	return e
}

// drawing is a whole picture, which says the same in words.
func drawing(width, height int, words string, children ...element) ([]byte, error) {
	attributes := []string{
		"xmlns", "http://www.w3.org/2000/svg", "width", strconv.Itoa(width), "height", strconv.Itoa(height),
		"viewBox", fmt.Sprintf("0 0 %d %d", width, height), "role", "img", "aria-label", words,
	}
	body, err := xml.Marshal(el("svg", attributes, append([]element{text("title", words)}, children...)...))
	if err != nil {
		return nil, fmt.Errorf("write a picture: %w", err)
	}
	return append(body, '\n'), nil
}

// maxText is the most characters of a text; no picture has room for as many.
const maxText = 200

// visible is a text on one line, without what is not seen or turns what is around it.
func visible(content string) string {
	shown := 0
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			r = ' '
		case unicode.Is(unicode.C, r):
			return -1
		}
		if shown++; shown > maxText {
			return -1
		}
		return r
	}, strings.ToValidUTF8(content, "\uFFFD"))
}

// advances are the widths of ' ' to '~' in Verdana, in 2048ths of its size. The fonts
// that stand in for it are as wide.
var advances = [...]int{
	720, 806, 940, 1676, 1302, 2204, 1488, 550, 930, 930, 1302, 1676, 745, 930, 745, 930,
	1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 1302, 930, 930, 1676, 1676, 1676, 1117,
	2048, 1400, 1404, 1430, 1578, 1295, 1177, 1588, 1539, 862, 931, 1419, 1140, 1726, 1532, 1612,
	1235, 1612, 1424, 1400, 1262, 1499, 1400, 2025, 1403, 1260, 1403, 930, 930, 930, 1676, 1302,
	1302, 1230, 1276, 1067, 1276, 1220, 720, 1276, 1296, 562, 705, 1212, 562, 1992, 1296, 1243,
	1276, 1276, 874, 1067, 807, 1296, 1212, 1676, 1212, 1212, 1076, 1300, 930, 1300, 1676,
}

// advance is how wide a letter is in Verdana, in 2048ths of its size. Of those that are
// not ASCII it is a guess: letters of East Asia and symbols are as wide as they are high.
func advance(r rune) int {
	switch {
	case r >= ' ' && int(r-' ') < len(advances):
		return advances[r-' ']
	case r == '·':
		return 745
	case unicode.Is(unicode.M, r):
		return 0
	case r >= 0x1100 && !unicode.Is(unicode.Latin, r) && !unicode.IsPunct(r):
		return 2048
	}
	return 1302
}

// width is how wide a text is at a size.
func width(content string, size float64) float64 {
	sum := 0
	for _, r := range content {
		sum += advance(r)
	}
	return float64(sum) / 2048 * size
}

// cut shortens a text to a width.
func cut(content string, size, most float64) string {
	if width(content, size) <= most {
		return content
	}
	room := int(most/size*2048) - advance('…')
	for i, r := range content {
		if room -= advance(r); room < 0 {
			return strings.TrimRight(content[:i], " ") + "…"
		}
	}
	return content
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
