// The page: one dashboard at one width. The driver reads `window.done`, what a user reads, once everything is drawn.
import { DataFrame, ThemeContext, TimeRange, createTheme, rangeUtil } from '@grafana/data';
import { GlobalStyles, PanelChrome } from '@grafana/ui';
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { completed, configured, transform } from './frames';
import { Drawn, Mark, Panel, told } from './panels';
import { Target, asTable, asTimeSeries, ask, asked, fillIn, stepOf } from './store';
import { Variables } from './variables';

interface Job {
  dashboard: any;
  width: number;
  from: string;
  to: string;
  variables: Record<string, string[]>;
  shuffled: boolean;
  /** The menu at the left, which Grafana shows by itself in a window of 1,440 pixels and more. */
  menu: boolean;
}

const [ROW, GAP, MARGIN, MENU, COLUMNS] = [30, 8, 16, 300, 24];
const theme = createTheme({ colors: { mode: 'dark' } });
const timeZone = 'utc';

function rangeOf(from: string, to: string): TimeRange {
  const range = rangeUtil.convertRawToRange({ from, to });
  return { ...range, raw: { from, to } };
}

function place(job: Job, { x, y, w, h }: { x: number; y: number; w: number; h: number }) {
  const left = job.menu ? MENU : 0;
  const column = (job.width - left - 2 * MARGIN + GAP) / COLUMNS;
  return {
    left: left + MARGIN + x * column,
    top: y * (ROW + GAP),
    width: w * column - GAP,
    height: h * (ROW + GAP) - GAP,
  };
}

async function framesOf(panel: any, job: Job, variables: Variables, range: TimeRange): Promise<DataFrame[]> {
  const [other] = panel.targets ?? [];
  if (panel.datasource?.uid === '-- Dashboard --') {
    const source = job.dashboard.panels.find(({ id }: any) => id === other.panelId);
    const frames = await framesOf(source, job, variables, range);
    const words = (text: string) => variables.fillIn(text);
    return other.withTransforms ? transform(source.transformations ?? [], frames, words) : frames;
  }
  const points = panel.maxDataPoints ?? Math.floor(place(job, panel.gridPos).width);
  const interval = stepOf(range, points, panel.interval);
  const answers = (panel.targets ?? [])
    .filter((target: Target) => !target.hide)
    .map(async (target: Target) => {
      const answer = await ask(fillIn(target.query, range, interval, variables), panel.title, target.refId);
      const isTable = target.resultFormat === 'table';
      return isTable ? asTable(target, answer, job.shuffled) : asTimeSeries(target, answer, panel.type);
    });
  return (await Promise.all(answers)).flat();
}

async function marksOf(job: Job, variables: Variables, range: TimeRange): Promise<Array<Mark & { filter?: any }>> {
  const sources = (job.dashboard.annotations?.list ?? []).filter((source: any) => source.enable && source.target?.query);
  const found = sources.map(async (source: any) => {
    const { query, textColumn = 'text', tagsColumn = '' } = source.target;
    const answer = await ask(fillIn(query, range, '1s', variables), `annotation ${source.name}`, '');
    const color = theme.visualization.getColorByName(source.iconColor ?? 'rgba(0, 211, 255, 1)');
    return answer.flatMap(({ columns, values, tags: own }) =>
      values.map((row) => {
        const of = (column: string) => String(row[columns.indexOf(column)] ?? own?.[column] ?? '');
        const tags = tagsColumn.split(',').filter(Boolean).map((column: string) => of(column.trim()));
        return { time: row[columns.indexOf('time')] as number, text: of(textColumn), tags, color, filter: source.filter };
      })
    );
  });
  return (await Promise.all(found)).flat();
}

function applies(filter: { exclude?: boolean; ids?: number[] } | undefined, id: number): boolean {
  return !filter?.ids ? true : filter.ids.includes(id) !== Boolean(filter.exclude);
}

async function prepared(panel: any, job: Job, variables: Variables, range: TimeRange, marks: any[]): Promise<Drawn> {
  const words = (text: string) => variables.fillIn(text);
  const frames = await transform(panel.transformations ?? [], await framesOf(panel, job, variables, range), words);
  const config = completed(panel.type, panel.fieldConfig);
  const own = panel.timeFrom ? rangeOf(`now-${panel.timeFrom}`, 'now') : range;
  return {
    panel,
    config,
    theme,
    timeZone,
    range: own,
    fillIn: words,
    marks: panel.type === 'timeseries' ? marks.filter(({ filter }) => applies(filter, panel.id)) : [],
    frames: configured(frames, config, theme, timeZone, words),
  };
}

/** The texts that stand beyond the left or right edge of a place that hides what does. */
function hidden(panel: Element): string[] {
  const walker = document.createTreeWalker(panel, NodeFilter.SHOW_TEXT);
  const texts = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(node);
    const at = range.getBoundingClientRect();
    for (let place = node.parentElement; at.width && place && place !== panel; place = place.parentElement) {
      const edge = place.getBoundingClientRect();
      const hides = getComputedStyle(place).overflowX !== 'visible';
      if (hides && (at.right > edge.right + 1 || at.left < edge.left - 1)) {
        texts.push(node.textContent ?? '');
        break;
      }
    }
  }
  return texts;
}

/** Texts that their places cut off, and tables that are wider than their panels. */
function cutOff(panel: Element): string[] {
  const tooWide = [...panel.querySelectorAll('*')]
    .filter((place) => /auto|scroll/.test(getComputedStyle(place).overflowX) && place.scrollWidth > place.clientWidth + 1)
    .map((place) => `(the table is ${place.scrollWidth - place.clientWidth} pixels wider than its panel)`);
  return [...new Set([...tooWide, ...hidden(panel)])];
}

/** The most pixels that one has to scroll down to see the end of a table or a legend. */
function below(element: Element): number {
  const hidden = [...element.querySelectorAll('*')]
    .filter((inner) => /auto|scroll/.test(getComputedStyle(inner).overflowY))
    .map((inner) => inner.scrollHeight - inner.clientHeight);
  return Math.max(0, ...hidden);
}

function Board({ job, drawn, variables }: { job: Job; drawn: Array<Drawn | { panel: any; error: string }>; variables: Variables }) {
  const shown = job.dashboard.templating?.list?.filter((variable: any) => !variable.hide) ?? [];
  const head = { position: 'absolute', left: (job.menu ? MENU : 0) + MARGIN, top: 12, fontSize: 14 } as const;
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      {job.menu && <div style={{ position: 'absolute', width: MENU - 1, top: 0, bottom: 0, background: theme.colors.background.primary }} />}
      <div style={head}>
        <b>{job.dashboard.title}</b>
        {shown.map(({ name, label }: any) => (
          <span key={name} style={{ marginLeft: 24, color: theme.colors.text.secondary }}>
            {label || name}: <span style={{ color: theme.colors.text.primary }}>{variables.shown(`\${${name}}`)}</span>
          </span>
        ))}
      </div>
      {drawn.map((one) => {
        const { left, top, width, height } = place(job, one.panel.gridPos);
        return (
          <div key={one.panel.id} id={`panel-${one.panel.id}`} style={{ position: 'absolute', left, top: top + 44, width, height }}>
            <PanelChrome width={width} height={height} title={variables.shown(one.panel.title ?? '')} displayMode={one.panel.transparent ? 'transparent' : 'default'}>
              {(width: number, height: number) =>
                'error' in one ? <pre style={{ color: theme.colors.error.text }}>{one.error}</pre> : <Panel {...one} width={width} height={height} />
              }
            </PanelChrome>
          </div>
        );
      })}
    </ThemeContext.Provider>
  );
}

const settled = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function draw(): Promise<object> {
  const job: Job = await (await fetch('/job')).json();
  const { dashboard } = job;
  const range = rangeOf(job.from, job.to);
  const filter = `time >= ${range.from.valueOf()}ms and time <= ${range.to.valueOf()}ms`;
  const variables = await Variables.read(dashboard.templating?.list ?? [], job.variables, filter);
  const marks = await marksOf(job, variables, range);
  const panels = dashboard.panels.flatMap((panel: any) => [panel, ...(panel.collapsed ? [] : (panel.panels ?? []))]);
  const drawn: Array<Drawn | { panel: any; error: string }> = await Promise.all(
    panels
      .filter((panel: any) => panel.type !== 'row')
      .map((panel: any) => prepared(panel, job, variables, range, marks).catch((error: Error) => ({ panel, error: error.message })))
  );
  const height = Math.max(...panels.map(({ gridPos }: any) => place(job, gridPos).top + place(job, gridPos).height)) + 44 + GAP;
  const root = document.getElementById('root')!;
  root.style.cssText = `position: relative; width: ${job.width}px; height: ${height}px; background: ${theme.colors.background.canvas}`;
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
  createRoot(root).render(<Board job={job} drawn={drawn} variables={variables} />);
  await settled(700);
  return {
    title: dashboard.title,
    width: job.width,
    height,
    variables: Object.fromEntries(Object.entries(variables.values).map(([name, { values }]) => [name, values])),
    panels: drawn.map((one) => ({
      id: one.panel.id,
      type: one.panel.type,
      title: variables.shown(one.panel.title ?? ''),
      ...('error' in one ? { error: one.error } : told(one)),
      empty: 'error' in one ? undefined : one.frames.every((frame) => frame.length === 0),
      cut: cutOff(document.getElementById(`panel-${one.panel.id}`)!),
      below: below(document.getElementById(`panel-${one.panel.id}`)!),
    })),
    queries: asked,
  };
}

(window as any).done = draw();
