package dashboard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a tree that is shown. The whole value can be downloaded.
const (
	treeValues = 2000 // values
	treeTokens = 200_000
	treeWide   = 200 // members of one object or array
	treeDepth  = 32
	treeText   = 4000 // bytes of a string
	treeFold   = 600  // bytes above which a string is folded
	treeShort  = 200  // bytes of a folded string
	treeOpen   = 80   // values of a tree that is open as a whole
)

// A node is a value of a tree.
type node struct {
	label string // HTML: the key or index
	value string // HTML of a scalar
	brace string // {} or []; "" for scalars
	nodes []node
	cut   bool // some are left out
}

// treeReader reads a bounded part of a JSON text.
type treeReader struct {
	d      *json.Decoder
	values int
	tokens int
}

var errBound = errors.New("the tree is complete")

// jsonTree returns a JSON text as nested lists, which browsers fold without a script, and whether parts were left out.
// Numbers and the order of members are those of the text. A text that is not JSON is returned as it is.
func jsonTree(raw []byte) (html template.HTML, cut bool) {
	r := &treeReader{d: json.NewDecoder(bytes.NewReader(raw))}
	r.d.UseNumber()
	root, err := r.read("", 0)
	if err == nil {
		if _, err = r.d.Token(); err == io.EOF {
			err = nil
		} else if err == nil {
			err = errors.New("more than one value")
		}
	}
	var b strings.Builder
	b.WriteString(`<div class="json">`)
	if err != nil && !errors.Is(err, errBound) {
		text, cut := shorten(string(raw), treeText)
		b.WriteString(`<p class="muted">Not JSON:</p><pre>` + template.HTMLEscapeString(clean(text)) + `</pre></div>`)
		return template.HTML(b.String()), cut
	}
	cut = root.write(&b, r.values <= treeOpen, true)
	b.WriteString(`</div>`)
	return template.HTML(b.String()), cut || errors.Is(err, errBound)
}

func (r *treeReader) token() (json.Token, error) {
	if r.tokens++; r.tokens > treeTokens {
		return nil, errBound
	}
	return r.d.Token()
}

// read reads the next value. With errBound the node has what was read until then.
func (r *treeReader) read(label string, depth int) (node, error) {
	n := node{label: label}
	if r.values++; r.values > treeValues {
		return n, errBound
	}
	token, err := r.token()
	if err != nil {
		return n, err
	}
	open, nested := token.(json.Delim)
	if !nested {
		n.value, n.cut = scalar(token)
		return n, nil
	}
	n.brace = map[json.Delim]string{'{': "{}", '[': "[]"}[open]
	if depth == treeDepth {
		n.cut = true
		return n, r.skip()
	}
	for i := 0; r.d.More(); i++ {
		if i == treeWide {
			n.cut = true
			return n, r.skip()
		}
		label := `<span class="j-i">` + strconv.Itoa(i) + `</span>`
		if open == '{' {
			key, err := r.token()
			if err != nil {
				n.cut = true
				return n, err
			}
			text, _ := shorten(key.(string), 200)
			label = `<span class="j-k">` + template.HTMLEscapeString(visible(text)) + `</span>`
		}
		child, err := r.read(label, depth+1)
		if errors.Is(err, errBound) {
			n.cut = true
			if child.brace != "" || child.value != "" {
				n.nodes = append(n.nodes, child)
			}
			return n, err
		}
		if err != nil {
			return n, err
		}
		n.nodes = append(n.nodes, child)
	}
	_, err = r.token()
	return n, err
}

// skip reads to the end of an object or array whose beginning was read.
func (r *treeReader) skip() error {
	for depth := 1; depth > 0; {
		token, err := r.token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
	return nil
}

// scalar returns a value as HTML.
func scalar(token json.Token) (html string, cut bool) {
	switch t := token.(type) {
	case string:
		text, cut := shorten(t, treeText)
		class := "j-s"
		if strings.Contains(text, "\n") {
			class = "j-s j-lines"
		}
		html = `<span class="` + class + `">` + template.HTMLEscapeString(visible(text)) + `</span>`
		if len(t) > treeFold {
			short, _ := shorten(text, treeShort)
			html = `<details class="j-fold"><summary><span class="j-s">` + template.HTMLEscapeString(visible(short)) +
				`</span> <span class="muted">… ` + number(int64(len(t))) + ` bytes</span></summary>` + html + `</details>`
		}
		return html, cut
	case json.Number:
		text, cut := shorten(t.String(), 400)
		return `<span class="j-n">` + template.HTMLEscapeString(text) + `</span>`, cut
	case bool:
		return `<span class="j-b">` + strconv.FormatBool(t) + `</span>`, false
	}
	return `<span class="j-b">null</span>`, false
}

// write writes a node, and reports whether it or one below it left something out.
func (n *node) write(b *strings.Builder, open, root bool) (cut bool) {
	label := n.label
	if label != "" {
		label += `<span class="j-p">: </span>`
	}
	switch {
	case n.brace == "":
		b.WriteString(`<div class="j-line">` + label + n.value + `</div>`)
		return n.cut
	case len(n.nodes) == 0 && !n.cut:
		b.WriteString(`<div class="j-line">` + label + `<span class="j-p">` + n.brace + `</span></div>`)
		return false
	}
	attr := ""
	if open || root {
		attr = " open"
	}
	size := strconv.Itoa(len(n.nodes))
	if n.cut {
		size += "+"
	}
	b.WriteString(`<details` + attr + `><summary>` + label + `<span class="j-p">` + n.brace[:1] + `</span>` +
		`<span class="j-c">` + size + `</span><span class="j-p">` + n.brace[1:] + `</span></summary><ul>`)
	cut = n.cut
	for i := range n.nodes {
		b.WriteString(`<li>`)
		cut = n.nodes[i].write(b, open, false) || cut
		b.WriteString(`</li>`)
	}
	if n.cut {
		b.WriteString(`<li class="muted">… more that is not shown</li>`)
	}
	b.WriteString(`</ul></details>`)
	return cut
}

// shorten returns the first n bytes of a text, or fewer so that no character is cut.
func shorten(s string, n int) (string, bool) {
	if len(s) <= n {
		return s, false
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

// visible returns a text in which characters that can't be seen, or change the order of others, are written as in Go.
func visible(s string) string {
	hidden := func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r))
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// visibleJSON returns a JSON text with escapes for what visible escapes, which are only allowed in strings.
func visibleJSON(raw []byte) string {
	var b strings.Builder
	for _, r := range string(raw) {
		if unicode.Is(unicode.Bidi_Control, r) || r != '\n' && r != '\t' && unicode.IsControl(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
