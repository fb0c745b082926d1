package prelude

type (
	Video   struct{ Parts int }
	Clip    struct{}
	Convert struct{}
)

func (c *Convert) resume(ctx context.Context, v Video) int { return 0 }

func (c *Convert) convert(ctx context.Context, v Video, part int) error { return nil }

func (c *Convert) save(ctx context.Context, v Video, part int) error { return nil }

func (c *Convert) finish(ctx context.Context, v Video) (Clip, error) { return Clip{}, nil }
