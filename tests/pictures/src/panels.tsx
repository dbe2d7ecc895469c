// Each kind of panel, with Grafana's components; and the same as text.
import {
  DataFrame,
  FALLBACK_COLOR,
  FieldConfigSource,
  FieldType,
  GrafanaTheme2,
  TimeRange,
  VizOrientation,
  formattedValueToString,
  getDisplayValueAlignmentFactors,
  getFieldDisplayName,
  getFieldDisplayValues,
  getFieldSeriesColor,
  sortDataFrame,
} from '@grafana/data';
import { BigValue, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';
import { graphable } from './frames';
import { Timeline, timelineTold } from './timeline';

export interface Mark {
  time: number;
  text: string;
  color: string;
  tags: string[];
}

export interface Drawn {
  panel: any;
  frames: DataFrame[];
  config: FieldConfigSource;
  theme: GrafanaTheme2;
  timeZone: string;
  range: TimeRange;
  marks: Mark[];
  fillIn: (text: string) => string;
}

const words = (value: any) => formattedValueToString(value);

/** Text, and the colour that the cell's options put on it or behind it. */
function cellTold(frame: DataFrame, column: number, row: number): { text: string; color?: string; painted?: string } {
  const field = frame.fields[column];
  const shown = field.display!(field.values[row]);
  const kind: string = field.config.custom?.cellOptions?.type ?? 'auto';
  const text = words(shown);
  if (kind.startsWith('color-background')) {
    return { text, painted: shown.color };
  }
  return kind.startsWith('color-text') ? { text, color: shown.color } : { text };
}

function sorted(frame: DataFrame, sortBy: Array<{ displayName: string; desc?: boolean }>): DataFrame {
  return [...sortBy].reverse().reduce((from, { displayName, desc }) => {
    const index = from.fields.findIndex((field) => getFieldDisplayName(field, from) === displayName);
    return index < 0 ? from : sortDataFrame(from, index, desc);
  }, frame);
}

const visible = (frame: DataFrame) => frame.fields.filter((field) => !(field.config.custom?.hidden || field.config.custom?.hideFrom?.viz));

function displayValues({ panel, frames, config, theme, timeZone, fillIn }: Drawn) {
  return getFieldDisplayValues({
    fieldConfig: config,
    reduceOptions: panel.options?.reduceOptions ?? { calcs: ['lastNotNull'] },
    replaceVariables: (text) => fillIn(text),
    theme,
    data: frames,
    sparkline: panel.options?.graphMode !== 'none',
    timeZone,
  });
}

/** What a user reads in the panel. */
export function told(drawn: Drawn): object {
  const { panel, frames, theme } = drawn;
  if (panel.type === 'table') {
    return {
      tables: frames.map((whole) => {
        const frame = sorted(whole, panel.options?.sortBy ?? []);
        const shown = visible(frame);
        return {
          columns: shown.map((field) => getFieldDisplayName(field, frame, frames)),
          rows: Array.from({ length: frame.length }, (_, row) =>
            shown.map((field) => cellTold(frame, frame.fields.indexOf(field), row))
          ),
        };
      }),
    };
  }
  if (panel.type === 'stat') {
    return {
      values: displayValues(drawn).map(({ display }) => ({ title: display.title, text: words(display), color: display.color })),
    };
  }
  if (panel.type === 'state-timeline') {
    return { lanes: timelineTold(frames, drawn.range) };
  }
  return {
    curves: graphable(frames).flatMap((frame) =>
      frame.fields
        .filter((field) => field.type === FieldType.number)
        .map((field) => ({
          name: getFieldDisplayName(field, frame, frames),
          color: getFieldSeriesColor(field, theme).color,
          points: field.values.length,
          last: words(field.display!([...field.values].reverse().find((value) => value !== null))),
          axis: field.config.custom?.axisPlacement,
        }))
    ),
    marks: drawn.marks,
  };
}

function empty({ frames }: Drawn): boolean {
  return frames.every((frame) => frame.length === 0);
}

/** Vertical lines at the times of annotations, as Grafana draws them: dashed, with a triangle at the foot. */
function markPlugin(marks: () => Mark[]) {
  return (u: any) => {
    const { ctx, bbox } = u;
    ctx.save();
    for (const { time, color } of marks()) {
      const x = Math.round(u.valToPos(time, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) {
        continue;
      }
      ctx.strokeStyle = ctx.fillStyle = color;
      ctx.lineWidth = 1;
      ctx.setLineDash([5, 5]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x - 4, bbox.top + bbox.height + 5);
      ctx.lineTo(x + 4, bbox.top + bbox.height + 5);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.fill();
    }
    ctx.restore();
  };
}

function Curves(drawn: Drawn & { width: number; height: number }) {
  const { frames, panel, range, timeZone, width, height, marks } = drawn;
  const hooked = React.useRef(new Set());
  return (
    <TimeSeries
      frames={graphable(frames)}
      width={width}
      height={height}
      timeRange={range}
      timeZone={timeZone}
      legend={panel.options?.legend ?? { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] }}
      options={panel.options}
    >
      {(config: any) => {
        if (!hooked.current.has(config)) {
          hooked.current.add(config);
          config.addHook('draw', markPlugin(() => marks));
        }
        return <></>;
      }}
    </TimeSeries>
  );
}

function Stats(drawn: Drawn & { width: number; height: number }) {
  const { panel, width, height, theme } = drawn;
  const options = panel.options ?? {};
  return (
    <VizRepeater
      getValues={() => displayValues(drawn)}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={({ value, alignmentFactors, width, height, count }: any) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode ?? 'value'}
          graphMode={options.graphMode ?? 'area'}
          justifyMode={options.justifyMode ?? 'auto'}
          textMode={options.textMode ?? 'auto'}
          alignmentFactors={alignmentFactors}
          text={options.text}
          width={width}
          height={height}
          theme={theme}
          disableWideLayout={options.wideLayout === false}
        />
      )}
      width={width}
      height={height}
      source={drawn.frames}
      itemSpacing={3}
      renderCounter={0}
      autoGrid={true}
      orientation={options.orientation ?? VizOrientation.Auto}
    />
  );
}

export function Panel(drawn: Drawn & { width: number; height: number }) {
  const { panel, frames, width, height, config, range, theme } = drawn;
  const nothing = (
    <div style={{ height, display: 'flex', alignItems: 'center', justifyContent: 'center', textAlign: 'center' }}>
      {config.defaults.noValue ?? 'No data'}
    </div>
  );
  switch (panel.type) {
    case 'stat':
      return <Stats {...drawn} />;
    case 'table':
      if (!frames.length || !frames[0].fields.length) {
        return nothing;
      }
      return (
        <TableNG
          data={frames[0]}
          width={width}
          height={height}
          resizable={true}
          showTypeIcons={panel.options?.showTypeIcons}
          noHeader={panel.options?.showHeader === false}
          initialSortBy={panel.options?.sortBy}
          enablePagination={panel.options?.enablePagination}
          cellHeight={panel.options?.cellHeight}
          maxRowHeight={panel.options?.maxRowHeight}
          frozenColumns={panel.options?.frozenColumns?.left}
          timeRange={range}
          fieldConfig={config}
        />
      );
    case 'timeseries':
      return empty(drawn) || !graphable(frames).length ? nothing : <Curves {...drawn} />;
    case 'state-timeline':
      return empty(drawn) ? nothing : <Timeline {...drawn} />;
    case 'text':
      return <pre style={{ whiteSpace: 'pre-wrap' }}>{panel.options?.content}</pre>;
    default:
      return <div style={{ color: theme.colors.error.text ?? FALLBACK_COLOR }}>{`a panel of type ${panel.type} can't be drawn here`}</div>;
  }
}
