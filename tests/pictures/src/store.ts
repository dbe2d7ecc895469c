// What Grafana's InfluxDB data source does with an InfluxQL query: fills it in, asks, and makes data frames of the answer.
import { DataFrame, FieldType, TimeRange, rangeUtil, toDataFrame } from '@grafana/data';
import { Variables } from './variables';

/** The least step of a curve where the panel names none, as `timeInterval` in the provisioned data source. */
export const LEAST_INTERVAL = '1s';

export interface Series {
  name?: string;
  tags?: Record<string, string>;
  columns: string[];
  values: unknown[][];
}

export interface Target {
  refId: string;
  query: string;
  resultFormat?: string;
  alias?: string;
  hide?: boolean;
}

/** Every query that was asked, with its time in the store; the tests look at them. */
export const asked: Array<{ panel: string; refId: string; query: string; milliseconds: number; error?: string }> = [];

export async function ask(query: string, panel = '', refId = ''): Promise<Series[]> {
  const start = performance.now();
  const answer = await fetch('/query', { method: 'POST', body: query });
  const body = await answer.json();
  const error: string | undefined = body.error ?? body.results?.find((result: { error?: string }) => result.error)?.error;
  asked.push({ panel, refId, query, milliseconds: Math.round(performance.now() - start), error });
  if (error) {
    throw new Error(error);
  }
  return body.results.flatMap((result: { series?: Series[] }) => result.series ?? []);
}

/** The macros of a query, then the dashboard's variables. */
export function fillIn(query: string, range: TimeRange, interval: string, variables: Variables): string {
  const filter = `time >= ${range.from.valueOf()}ms and time <= ${range.to.valueOf()}ms`;
  const milliseconds = String(rangeUtil.intervalToMs(interval));
  return variables.fillIn(
    query
      .replace(/\$timeFilter\b/g, filter)
      .replace(/\$(__from\b|\{__from\})/g, String(range.from.valueOf()))
      .replace(/\$(__to\b|\{__to\})/g, String(range.to.valueOf()))
      .replace(/\$(__interval_ms|\{__interval_ms\})/g, milliseconds)
      .replace(/\$(__interval\b|\{__interval\})/g, interval)
      .replace(/\$interval\b/g, interval)
  );
}

/** The step of the panel's curves: its range over its pixels, rounded, at least what the panel or the source asks for. */
export function stepOf(range: TimeRange, points: number, least: string | undefined): string {
  return rangeUtil.calculateInterval(range, points, (least || LEAST_INTERVAL).replace(/^>/, '')).interval;
}

function typeOf(values: unknown[]): FieldType {
  const first = values.find((value) => value !== null && value !== undefined);
  return typeof first === 'string'
    ? FieldType.string
    : typeof first === 'boolean'
      ? FieldType.boolean
      : FieldType.number;
}

function named(alias: string, series: Series, column: string): string {
  return alias.replace(/\$(\w+)|\[\[([\s\S]+?)]]/g, (whole, plain, bracketed) => {
    const key = plain ?? bracketed;
    if (key === 'm' || key === 'measurement') {
      return series.name ?? '';
    }
    if (key === 'col') {
      return column;
    }
    if (key.startsWith('tag_')) {
      return series.tags?.[key.slice(4)] ?? whole;
    }
    const part = (series.name ?? '').split('.')[Number(key)];
    return part ?? whole;
  });
}

/** One frame a series and column, named by the alias or by measurement, column and tags. */
export function asTimeSeries(target: Target, answer: Series[], panelType: string): DataFrame[] {
  return answer.flatMap((series) => {
    const time = series.columns.indexOf('time');
    return series.columns.flatMap((column, index) => {
      if (index === time) {
        return [];
      }
      const tags = Object.entries(series.tags ?? {});
      const suffix = tags.length ? ` { ${tags.map(([key, value]) => `${key}: ${value}`).join(', ')} }` : '';
      const name = target.alias ? named(target.alias, series, column) : `${series.name}.${column}${suffix}`;
      const values = series.values.map((row) => row[index]);
      return [
        toDataFrame({
          refId: target.refId,
          name,
          meta: { preferredVisualisationType: panelType === 'table' ? 'table' : 'graph' },
          fields: [
            { name: 'Time', type: FieldType.time, config: {}, values: series.values.map((row) => row[time]) },
            {
              name: 'Value',
              type: typeOf(values),
              labels: series.tags,
              config: { displayNameFromDS: name },
              values,
            },
          ],
        }),
      ];
    });
  });
}

/**
 * One frame: the time, the tags, the columns.
 * @param shuffled the tags in another order than the store's: Grafana's own changes (grafana/grafana #71260)
 */
export function asTable(target: Target, answer: Series[], shuffled: boolean): DataFrame[] {
  if (!answer.length) {
    return [];
  }
  const tags = Object.keys(answer[0].tags ?? {});
  if (shuffled) {
    tags.sort(() => Math.random() - 0.5);
  }
  const columns = answer[0].columns;
  const rows = answer.flatMap((series) => series.values.map((row) => ({ series, row })));
  const fields: Array<{ name: string; type: FieldType; config: object; values: unknown[] }> = [];
  columns.forEach((column, index) => {
    const values = rows.map(({ row }) => row[index]);
    if (column === 'time') {
      fields.push({ name: 'Time', type: FieldType.time, config: {}, values });
      for (const tag of tags) {
        const of = rows.map(({ series }) => series.tags?.[tag] ?? null);
        fields.push({ name: tag, type: FieldType.string, config: {}, values: of });
      }
    } else {
      fields.push({ name: column, type: typeOf(values), config: {}, values });
    }
  });
  return [
    toDataFrame({
      refId: target.refId,
      name: answer[0].name,
      meta: { preferredVisualisationType: 'table' },
      fields,
    }),
  ];
}
