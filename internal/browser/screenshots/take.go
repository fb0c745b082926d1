package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
	"github.com/afgen/afgen/internal/browser/shop"
)

// A picture is a page of the shop.
type picture struct {
	name, path    string
	width, height int    // of the page; a phone if width is set
	ready         string // what holds in the page when it is complete, in addition to live updates
}

// files returns the names of the light and the dark picture.
func (p *picture) files() [2]string { return [2]string{p.name + ".png", p.name + "-dark.png"} }

// pictures are those that the documents show.
var pictures = []picture{
	{name: "overview", path: "/", height: 760},
	{name: "tasks", path: "/tasks", height: 760},
	{name: "task", path: "/tasks/" + shop.Invoice, height: 860},
	{name: "tree", path: "/tasks/" + shop.Import, height: 1080, ready: `document.querySelector("[data-following]")`},
	{name: "queue", path: "/queues/" + shop.Queue, height: 660},
	{name: "job", path: "/jobs/" + shop.Job, height: 700},
	{name: "method", path: "/services/" + shop.Service + "/" + shop.Method, height: 620},
	{name: "machines", path: "/machines", height: 760},
	{name: "audit", path: "/audit", height: 480},
	{name: "phone", path: "/", width: 375, height: 812},
	{name: "phone-tasks", path: "/tasks", width: 375, height: 812},
}

// clock makes the time of scripts that of the shop.
const clock = `Date.now = () => %d;`

// take writes all pictures into a directory.
func take(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	go func() { served <- serveAt(serving, l) }() // ends with serving
	err = takeAt(ctx, "http://"+l.Addr().String(), dir)
	stop()
	if failed := <-served; err == nil {
		err = failed
	}
	return err
}

func takeAt(ctx context.Context, base, dir string) error {
	b, err := chrome.Start(ctx)
	if err != nil {
		return err
	}
	defer b.Close()
	tab, err := b.Open(chrome.View{})
	if err != nil {
		return err
	}
	if err := tab.Inject(ctx, fmt.Sprintf(clock, shop.Clock().UnixMilli())); err != nil {
		return err
	}
	total := 0
	for _, p := range pictures {
		for i, file := range p.files() {
			body, err := p.take(ctx, tab, base, i == 1)
			if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			if err := os.WriteFile(filepath.Join(dir, file), body, 0o644); err != nil {
				return err
			}
			fmt.Printf("%-22s %4d KB\n", file, len(body)/1000)
			total += len(body)
		}
	}
	fmt.Printf("%-22s %4d KB\n", "in all", total/1000)
	if problems := tab.Problems(); len(problems) > 0 {
		return fmt.Errorf("the pages have problems: %q", problems)
	}
	return nil
}

// take returns a picture as a PNG.
func (p *picture) take(ctx context.Context, tab *chrome.Tab, base string, dark bool) ([]byte, error) {
	v := chrome.View{Width: p.width, Height: p.height, Dark: dark, Phone: p.width > 0}
	if v.Phone {
		v.Scale = 1.5
	}
	if err := tab.View(ctx, v); err != nil {
		return nil, err
	}
	if err := tab.Go(ctx, base+p.path); err != nil {
		return nil, err
	}
	ready := `document.fonts.status === "loaded" && document.getElementById("live").dataset.state === "live"`
	if p.ready != "" {
		ready += " && " + p.ready
	}
	if err := tab.Wait(ctx, ready); err != nil {
		return nil, err
	}
	body, err := tab.Screenshot(ctx, false)
	if err != nil {
		return nil, err
	}
	return smaller(body)
}

// smaller returns a PNG in about a third of the bytes: with 256 of its colors. Pages have few; what is lost are shades in
// the edges of letters.
func smaller(body []byte) ([]byte, error) {
	img, err := png.Decode(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	bounds := img.Bounds()
	counts := map[color.RGBA]int{}
	pixel := func(x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			counts[pixel(x, y)]++
		}
	}
	chosen := choose(counts)
	index := map[color.RGBA]uint8{}
	for c := range counts {
		index[c] = uint8(chosen.Index(c))
	}
	small := image.NewPaletted(bounds, chosen)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			small.SetColorIndex(x, y, index[pixel(x, y)])
		}
	}
	var b bytes.Buffer
	err = (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, small)
	return b.Bytes(), err
}

// choose returns at most 256 colors: the most frequent one, and then always the one that the others represent worst.
func choose(counts map[color.RGBA]int) color.Palette {
	type candidate struct {
		color.RGBA
		distance int // to the nearest color that is chosen, squared
	}
	var all []candidate
	for c := range counts {
		all = append(all, candidate{c, 3 * 255 * 255})
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(counts[b.RGBA], counts[a.RGBA]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G),
			cmp.Compare(a.B, b.B))
	})
	var chosen color.Palette
	for len(chosen) < min(len(all), 256) {
		worst, at := -1, 0
		for i := range all {
			if w := counts[all[i].RGBA] * all[i].distance; w > worst {
				worst, at = w, i
			}
		}
		c := all[at].RGBA
		chosen = append(chosen, c)
		for i := range all {
			r, g, b := int(all[i].R)-int(c.R), int(all[i].G)-int(c.G), int(all[i].B)-int(c.B)
			all[i].distance = min(all[i].distance, r*r+g*g+b*b)
		}
	}
	return chosen
}
