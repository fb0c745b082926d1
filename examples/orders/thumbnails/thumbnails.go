// Package thumbnails scales pictures of products down. Decoding a stranger's file may take much memory and time, so
// each task runs in a process of its own, which can be killed.
package thumbnails

import (
	"bytes"
	"context"
	"image"
	"image/png"

	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// Picture is a picture to scale.
type Picture struct {
	PNG   []byte `json:"png"`
	Width int    `json:"width"` // of the thumbnail
}

// Thumbnail scales pictures.
//
//af:worker max=2 retries=1 timeout=30s isolation=process
type Thumbnail struct{}

// Run returns the thumbnail as PNG.
func (t *Thumbnail) Run(ctx context.Context, p Picture) ([]byte, error) {
	from, err := png.Decode(bytes.NewReader(p.PNG))
	if err != nil {
		return nil, af.Permanent(af.Errorf(af.ErrInvalidArgument, "the picture is not a PNG: %v", err))
	}
	size := from.Bounds().Size()
	if p.Width < 1 || p.Width > size.X {
		return nil, af.Permanent(af.Errorf(af.ErrOutOfRange, "width %d of %d", p.Width, size.X))
	}
	to := image.NewRGBA(image.Rect(0, 0, p.Width, max(1, size.Y*p.Width/size.X)))
	for y := range to.Bounds().Dy() {
		if err := context.Cause(ctx); err != nil { // stopped, or out of time
			return nil, err
		}
		for x := range p.Width {
			to.Set(x, y, from.At(from.Bounds().Min.X+x*size.X/p.Width, from.Bounds().Min.Y+y*size.X/p.Width))
		}
	}
	var b bytes.Buffer
	err = png.Encode(&b, to)
	return b.Bytes(), err
}
