package picture

import "strconv"

// Tone is what the colour of a badge says.
type Tone string

// The tones.
const (
	Neutral Tone = "neutral" // a count
	Rise    Tone = "rise"
	Fall    Tone = "fall"
	Unknown Tone = "unknown" // not known, or out of date
)

// Color is that of a tone, in which white can be read.
func (t Tone) Color() string {
	return map[Tone]string{Neutral: "#2456c9", Rise: "#1a7431", Fall: "#a8370a", Unknown: "#656d76"}[t]
}

// Badge is a label with what it says.
type Badge struct {
	Label, Message string
	Tone           Tone
}

const (
	badgeHeight = 20
	badgeSize   = 11.0
	badgeMost   = 300.0 // of each half
	badgeSpace  = 7
)

// SVG draws the badge.
func (b Badge) SVG() ([]byte, error) {
	label := cut(visible(b.Label), badgeSize, badgeMost)
	message := cut(visible(b.Message), badgeSize, badgeMost)
	left := int(width(label, badgeSize)+0.5) + 2*badgeSpace
	right := int(width(message, badgeSize)+0.5) + 2*badgeSpace
	half := func(content string, from, wide int) element {
		return text("text", content, "x", strconv.Itoa(from+badgeSpace), "y", "14", "textLength", strconv.Itoa(wide-2*badgeSpace), "lengthAdjust", "spacingAndGlyphs")
	}
	return drawing(left+right, badgeHeight, label+": "+message,
		el("clipPath", []string{"id", "r"}, el("rect", []string{"width", strconv.Itoa(left + right), "height", strconv.Itoa(badgeHeight), "rx", "4"})),
		el("g", []string{"clip-path", "url(#r)"},
			el("rect", []string{"width", strconv.Itoa(left), "height", strconv.Itoa(badgeHeight), "fill", "#3d444d"}),
			el("rect", []string{"x", strconv.Itoa(left), "width", strconv.Itoa(right), "height", strconv.Itoa(badgeHeight), "fill", b.Tone.Color()})),
		el("g", []string{"fill", "#fff", "font-family", "Verdana,Geneva,DejaVu Sans,sans-serif", "font-size", number(badgeSize), "text-rendering", "geometricPrecision"},
			half(label, 0, left), half(message, left, right)))
}
