// The state timeline, which is not among Grafana's published components: a lane for each field, in its processor's colours.
import { DataFrame, Field, FieldType, TimeRange, formattedValueToString, getFieldDisplayName } from '@grafana/data';
import { VizLayout, VizLegend } from '@grafana/ui';
import React from 'react';
import type { Drawn } from './panels';

interface Piece {
  from: number;
  to: number;
  text: string;
  color: string;
}

interface Lane {
  name: string;
  pieces: Piece[];
}

/** Values of equal text are one piece; a null is a gap, and the last value lasts until now. */
function pieces(time: Field, field: Field, range: TimeRange): Piece[] {
  const made: Piece[] = [];
  const end = Math.min(range.to.valueOf(), Date.now());
  time.values.forEach((from: number, index: number) => {
    const value = field.values[index];
    if (value === null || value === undefined) {
      return;
    }
    const shown = field.display!(value);
    const to = Math.min(time.values[index + 1] ?? end, range.to.valueOf());
    const last = made[made.length - 1];
    const text = formattedValueToString(shown);
    if (last && last.text === text && last.to === from) {
      last.to = to;
    } else {
      made.push({ from: Math.max(from, range.from.valueOf()), to, text, color: shown.color ?? '#808080' });
    }
  });
  return made;
}

export function timelineTold(frames: DataFrame[], range: TimeRange): Lane[] {
  return frames.flatMap((frame) => {
    const time = frame.fields.find((field) => field.type === FieldType.time);
    return time
      ? frame.fields
          .filter((field) => field !== time)
          .map((field) => ({ name: getFieldDisplayName(field, frame, frames), pieces: pieces(time, field, range) }))
      : [];
  });
}

function labels(range: TimeRange, width: number): Array<{ x: number; text: string }> {
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const steps = [5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400].map((seconds) => seconds * 1000);
  const step = steps.find((step) => ((to - from) / step) * 80 <= width) ?? steps[steps.length - 1];
  const made = [];
  for (let time = Math.ceil(from / step) * step; time < to; time += step) {
    const text = new Date(time).toISOString().slice(11, step < 60000 ? 19 : 16);
    const x = ((time - from) / (to - from)) * width;
    if (x < width - 30) {
      made.push({ x, text });
    }
  }
  return made;
}

export function Timeline({ frames, range, theme, panel, width, height }: Drawn & { width: number; height: number }) {
  const lanes = timelineTold(frames, range);
  const names = new Map(lanes.flatMap(({ pieces }) => pieces.map(({ text, color }) => [text, color] as const)));
  const items = [...names].map(([label, color]) => ({ label, color, yAxis: 1 }));
  const legend = panel.options?.legend?.showLegend === false ? null : (
    <VizLayout.Legend placement="bottom">
      <VizLegend displayMode={'list' as any} placement="bottom" items={items} />
    </VizLayout.Legend>
  );
  const left = 16 + Math.min(Math.max(...lanes.map(({ name }) => name.length)) * 8, width / 3);
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  return (
    <VizLayout width={width} height={height} legend={legend}>
      {(width: number, height: number) => {
        const [inner, rows] = [width - left - 4, height - 20];
        const row = rows / Math.max(lanes.length, 1);
        const bar = row * (panel.options?.rowHeight ?? 0.9);
        const x = (time: number) => left + ((time - from) / (to - from)) * inner;
        return (
          <svg width={width} height={height} style={{ fontSize: 12 }}>
            {lanes.map(({ name, pieces }, index) => (
              <g key={index}>
                <text x={left - 8} y={(index + 0.5) * row + 4} textAnchor="end" fill={theme.colors.text.primary}>
                  {name}
                </text>
                {pieces.map(({ from, to, text, color }, number) => {
                  const wide = x(to) - x(from);
                  return (
                    <g key={number}>
                      <rect
                        x={x(from)}
                        y={index * row + (row - bar) / 2}
                        width={Math.max(wide, 0.5)}
                        height={bar}
                        fill={color}
                        fillOpacity={(panel.fieldConfig?.defaults?.custom?.fillOpacity ?? 70) / 100}
                      />
                      {panel.options?.showValue !== 'never' && wide > text.length * 7 + 6 && (
                        <text x={x(from) + 4} y={(index + 0.5) * row + 4} fill={theme.colors.getContrastText(color)}>
                          {text}
                        </text>
                      )}
                    </g>
                  );
                })}
              </g>
            ))}
            {labels(range, inner).map(({ x: at, text }) => (
              <text key={text} x={left + at} y={height - 4} textAnchor="middle" fill={theme.colors.text.secondary}>
                {text}
              </text>
            ))}
          </svg>
        );
      }}
    </VizLayout>
  );
}
