package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type Track struct{ File string }

// Encode is a worker whose tasks encode one track each.
type Encode struct{}

func (*Encode) Run(_ context.Context, t Track) (string, error) {
	if !strings.HasSuffix(t.File, ".wav") {
		return "", af.Permanent(errors.New("not a WAV file"))
	}
	return strings.TrimSuffix(t.File, ".wav") + ".mp3", nil
}

type Album struct{ Files []string }

// Publish is a worker whose tasks encode all tracks of an album, each in a subtask.
type Publish struct {
	tracks *EncodeQueue
	report chan string
}

// Run submits the subtasks. They start once it has returned nil.
func (p *Publish) Run(ctx context.Context, a Album) error {
	var tracks []Track
	for _, file := range a.Files {
		tracks = append(tracks, Track{File: file})
	}
	_, err := p.tracks.Subtasks(ctx, af.TaskFrom(ctx).ID, tracks, af.OnFailure(af.CollectFailures))
	return err
}

// SubtasksDone runs once, when all subtasks have ended.
func (p *Publish) SubtasksDone(ctx context.Context, _ Album, s af.Subtasks) error {
	report := fmt.Sprintf("%d of %d tracks encoded", s.Succeeded, s.Total)
	for task, err := range s.All(ctx) {
		if err != nil {
			return err
		}
		if task.Status != af.StatusSuccess {
			report += "; a track failed: " + task.Error.Message
		}
	}
	p.report <- report
	return nil
}

// Split a task into subtasks and collect their results.
func ExampleVoidQueue_Subtasks() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	publish := &Publish{tracks: NewEncodeQueue(app), report: make(chan string, 1)}
	RegisterPublish(app, publish)
	RegisterEncode(app, &Encode{})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	if _, err := NewPublishQueue(app).Submit(ctx, Album{Files: []string{"1.wav", "2.wav", "cover.png"}}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-publish.report)
	// Output: 2 of 3 tracks encoded; a track failed: not a WAV file
}

// The rest of this file is generated code.

type EncodeQueue struct{ af.Queue[Track, string] }

func NewEncodeQueue(t af.TaskClient) *EncodeQueue {
	return &EncodeQueue{af.NewQueue[Track, string](t, afEncode)}
}

func RegisterEncode(r af.Registrar, w *Encode) { af.RegisterWorker(r, afEncode, w) }

var afEncode = af.Worker{Name: "encode", Type: "Encode", Max: 10, Retries: 3, Backoff: time.Second, Weight: 1}

type PublishQueue struct{ af.VoidQueue[Album] }

func NewPublishQueue(t af.TaskClient) *PublishQueue {
	return &PublishQueue{af.NewVoidQueue[Album](t, afPublish)}
}

func RegisterPublish(r af.Registrar, w *Publish) { af.RegisterVoidWorker(r, afPublish, w) }

var afPublish = af.Worker{Name: "publish", Type: "Publish", Max: 10, Backoff: time.Second, Weight: 1}
