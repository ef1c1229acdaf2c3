package picture

import (
	"fmt"
	"math"
	"strings"
)

// Theme is how a card looks.
type Theme string

// The themes.
const (
	Auto  Theme = "auto" // as the browser prefers
	Light Theme = "light"
	Dark  Theme = "dark"
)

// Card is a small panel with a line.
type Card struct {
	Title, Subtitle string
	Figure, Caption string // the large number, and what it is
	Changes         []Change
	Line            []*float64 // by day, nil where nothing was read
	Legend          string     // what the line is
	Foot            string
	Theme           Theme
}

// Change is a smaller figure.
type Change struct {
	Value, Caption string
	Tone           Tone
}

// CardWidth and CardHeight are the size of a card.
const (
	CardWidth  = 420
	CardHeight = 170
)

const (
	edge     = 20.0
	lineTop  = 114.0
	lineBase = 142.0
	bold     = 1.18 // how much wider the letters of a heavier weight are
)

const light = `.g{fill:#fff;stroke:#d8dade}.i{fill:#17191c}.m{fill:#5b616a}.l{fill:none;stroke:#2456c9}.d{fill:#2456c9}.a{fill:#2456c9;fill-opacity:.1}.rise{fill:#1a7431}.fall{fill:#a8370a}`

const dark = `.g{fill:#14181d;stroke:#30363d}.i{fill:#e7e9ec}.m{fill:#9aa3ad}.l{fill:none;stroke:#8cb0ff}.d{fill:#8cb0ff}.a{fill:#8cb0ff;fill-opacity:.14}.rise{fill:#7ee2a0}.fall{fill:#ff9d73}`

const shapes = `text{font-family:-apple-system,BlinkMacSystemFont,'Segoe UI','Noto Sans',Verdana,'DejaVu Sans',sans-serif}.l{stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}`

// SVG draws the card.
func (c Card) SVG() ([]byte, error) {
	style := map[Theme]string{Light: light, Dark: dark}[c.Theme]
	if style == "" {
		style = light + "@media(prefers-color-scheme:dark){" + dark + "}"
	}
	const inner = CardWidth - 2*edge
	put := func(content, class string, x, y, size, most float64, more ...string) element {
		return text("text", cut(visible(content), size, most), append([]string{"class", class, "x", number(x), "y", number(y), "font-size", number(size)}, more...)...)
	}
	title, figure := visible(c.Title), visible(c.Figure)
	words := []string{title, strings.TrimSpace(figure + " " + visible(c.Caption))}
	drawn := []element{
		text("style", shapes+style),
		el("rect", []string{"class", "g", "x", "0.5", "y", "0.5", "width", fmt.Sprint(CardWidth - 1), "height", fmt.Sprint(CardHeight - 1), "rx", "10"}),
		put(c.Title, "i", edge, 32, 15, inner/bold, "font-weight", "600"),
		put(c.Subtitle, "m", edge, 50, 11.5, inner),
		el("text", []string{"x", number(edge), "y", "88"},
			text("tspan", cut(figure, 25, 190/bold), "class", "i", "font-size", "25", "font-weight", "600"),
			text("tspan", cut(visible(c.Caption), 11.5, 80), "class", "m", "font-size", "11.5", "dx", "6")),
	}
	for i, ch := range c.Changes {
		y := 70 + 16*float64(i)
		value := text("tspan", visible(ch.Value), "class", string(ch.Tone), "font-weight", "600")
		line := text("text", "", "class", "m", "x", number(CardWidth-edge), "y", number(y), "font-size", "11.5", "text-anchor", "end")
		line.Elements = []element{value, text("tspan", " "+visible(ch.Caption))}
		drawn = append(drawn, line)
		words = append(words, visible(ch.Value)+" "+visible(ch.Caption))
	}
	drawn = append(drawn, c.line()...)
	drawn = append(drawn,
		put(c.Legend, "m", edge, 159, 10, 190),
		put(c.Foot, "m", CardWidth-edge, 159, 10, 190, "text-anchor", "end"))
	return drawing(CardWidth, CardHeight, strings.Join(words, ", "), drawn...)
}

// line draws the values; it breaks where nothing was read.
func (c Card) line() []element {
	low, high, known := math.Inf(1), math.Inf(-1), 0
	for _, v := range c.Line {
		if v != nil {
			low, high, known = math.Min(low, *v), math.Max(high, *v), known+1
		}
	}
	if known == 0 {
		return []element{text("text", "nothing was read", "class", "m", "x", number(edge), "y", "128", "font-size", "11.5")}
	}
	x := func(i int) float64 { return edge + float64(i)*(CardWidth-2*edge)/math.Max(1, float64(len(c.Line)-1)) }
	y := func(v float64) float64 {
		if high == low {
			return (lineTop + lineBase) / 2
		}
		return lineBase - (v-low)/(high-low)*(lineBase-lineTop)
	}
	var out []element
	for i := 0; i < len(c.Line); i++ {
		if c.Line[i] == nil {
			continue
		}
		from := i
		var points []string
		for ; i < len(c.Line) && c.Line[i] != nil; i++ {
			points = append(points, number(x(i))+" "+number(y(*c.Line[i])))
		}
		if len(points) == 1 { // no line reaches it
			out = append(out, el("circle", []string{"class", "d", "cx", number(x(from)), "cy", number(y(*c.Line[from])), "r", "1.4"}))
			continue
		}
		path := "M" + strings.Join(points, "L")
		out = append(out,
			el("path", []string{"class", "a", "d", fmt.Sprintf("%sL%s %sL%s %sz", path, number(x(i-1)), number(lineBase+4), number(x(from)), number(lineBase+4))}),
			el("path", []string{"class", "l", "d", path}))
	}
	return out
}
