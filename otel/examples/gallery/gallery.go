// Package gallery publishes albums: a service that knows their photos, a task for each album with a subtask for each
// photo, a raw message about each published album, and a job. It knows nothing of OpenTelemetry.
package gallery

import (
	"context"

	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// Photos knows the photos of albums.
//
//af:rpc timeout=5s
type Photos struct{}

// List returns the names of an album's photos. There is no album lost, and the album broken can't be read.
//
//af:method idempotent
func (*Photos) List(_ context.Context, album string) ([]string, error) {
	switch album {
	case "lost":
		return nil, af.Errorf(af.ErrNotFound, "no album %q", album)
	case "broken":
		return nil, af.Errorf(af.ErrDataLoss, "the list of album %q is damaged", album)
	}
	return []string{album + "/1.jpg", album + "/2.jpg"}, nil
}

// Publish publishes albums. The photos are subtasks, which all processes share.
//
//af:worker max=4 retries=3 backoff=1s timeout=1m
type Publish struct {
	Photos PhotosAPI
	Resize *ResizeQueue
	Send   func(ctx context.Context, queue string, v any) error // sends raw messages
}

// Run has all photos of an album resized.
func (p *Publish) Run(ctx context.Context, album string) error {
	photos, err := p.Photos.List(ctx, album)
	if af.CodeOf(err) == af.ErrNotFound {
		return af.Permanent(err)
	}
	if err == nil {
		_, err = p.Resize.Subtasks(ctx, af.TaskFrom(ctx).ID, photos)
	}
	return err
}

// SubtasksDone runs once, when all photos have been resized or have failed.
func (p *Publish) SubtasksDone(ctx context.Context, album string, s af.Subtasks) error {
	if err := p.Send(ctx, PublishedQueue, Published{album, s.Succeeded}); err != nil {
		return err
	}
	af.LoggerFrom(ctx).Info("published", "album", album, "photos", s.Succeeded, "failed", s.Failed)
	return nil
}

// PublishedQueue is the queue of raw messages of type [Published]. Programs without afgen can send and receive them, too.
const PublishedQueue = "published"

// A Published tells that an album is published.
type Published struct {
	Album  string `json:"album"`
	Photos int    `json:"photos"`
}

// Index receives messages about published albums until the App is shut down.
func Index(ctx context.Context, app *af.App) error {
	return af.ReceiveAs(ctx, app, PublishedQueue, func(ctx context.Context, m Published) error {
		if m.Album == "" {
			return af.Permanent(af.Errorf(af.ErrInvalidArgument, "the message names no album"))
		}
		af.LoggerFrom(ctx).Info("indexed", "album", m.Album, "photos", m.Photos)
		return nil
	})
}

// Resize resizes photos.
//
//af:worker max=8 retries=2 timeout=10s
type Resize struct{}

// Run resizes one photo.
func (*Resize) Run(ctx context.Context, photo string) error {
	af.LoggerFrom(ctx).Debug("resized", "photo", photo)
	return nil
}

// Sweep is the payload of Tidy.
type Sweep struct{}

// Tidy removes old files, every two seconds.
//
//af:worker timeout=10s
//af:schedule id=tidy cron="*/2 * * * * *" missed=skip overlap=skip
type Tidy struct{}

// Run tidies up.
func (*Tidy) Run(context.Context, Sweep) error { return nil }

// Register registers the service, the workers and the job.
func Register(app *af.App) {
	RegisterPhotos(app, &Photos{})
	RegisterPublish(app, &Publish{Photos: NewPhotosClient(app), Resize: NewResizeQueue(app), Send: app.Send})
	RegisterResize(app, &Resize{})
	RegisterTidy(app, &Tidy{})
}
