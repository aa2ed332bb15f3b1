package demo

import (
	"fmt"
	"image"
	"math"
)

// imageSize is in pixels.
type imageSize struct{ w, h int }

func (s imageSize) String() string { return fmt.Sprintf("%dx%d", s.w, s.h) }

// loopSizes are what a camera of the first FrameDB writes: the picture, and
// what two detectors want of it.
var loopSizes = [...]imageSize{{1920, 1080}, {608, 608}, {416, 416}}

// paint draws the scene at one moment of the loop (0 to 1), scaled to any
// size: a sky that changes its colour, ground with a fine pattern, and a ball
// that goes round.
func paint(w, h int, at float64) *image.YCbCr {
	img := image.NewYCbCr(image.Rect(0, 0, w, h), image.YCbCrSubsampleRatio420)
	angle := 2 * math.Pi * at
	ballX, ballY := 0.5+0.35*math.Cos(angle), 0.5+0.3*math.Sin(angle)
	for y := range h {
		v := (float64(y) + 0.5) / float64(h)
		row := img.Y[y*img.YStride : y*img.YStride+w]
		for x := range row {
			u := (float64(x) + 0.5) / float64(w)
			row[x] = luma(u, v, u-ballX, v-ballY, at)
		}
	}
	for y := range (h + 1) / 2 {
		v := float64(2*y) / float64(h)
		for x := range (w + 1) / 2 {
			u := float64(2*x) / float64(w)
			i := y*img.CStride + x
			img.Cb[i], img.Cr[i] = chroma(u, v, u-ballX, v-ballY, at)
		}
	}
	return img
}

// inBall says so of a point relative to the ball's middle; pictures are 16:9.
func inBall(dx, dy float64) bool { return dx*dx*(256./81) < 0.03-dy*dy }

func luma(u, v, dx, dy, at float64) uint8 {
	switch {
	case inBall(dx, dy):
		return uint8(235 - 2500*(dx*dx+dy*dy))
	case v < 0.6:
		return uint8(190 - 100*v + 10*u)
	}
	// The ground moves by one tile in a loop; the noise keeps the size of the
	// JPEG that of a camera's.
	tile := int(math.Floor(20*(u+0.05*at)/v)) + int(math.Floor(12*v*v))
	noise := uint32(u*8191)*2654435761 ^ uint32(v*8191)*40503
	return uint8(70 + 50*(tile&1) + int(noise>>16&31))
}

func chroma(u, v, dx, dy, at float64) (cb, cr uint8) {
	switch {
	case inBall(dx, dy):
		return 100, 200
	case v < 0.6:
		return uint8(150 + 20*v), uint8(110 + 20*at*(1-at)*4)
	}
	return 120, uint8(125 + 10*u)
}
