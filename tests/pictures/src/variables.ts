// The dashboard's variables: their choices from the store, and their values in a text.
import { ask } from './store';

export interface Variable {
  name: string;
  type: string;
  query?: unknown;
  multi?: boolean;
  includeAll?: boolean;
  allValue?: string;
  regex?: string;
  sort?: number;
  current?: { value?: string | string[] };
}

interface Value {
  values: string[];
  /** It may have several values, so it stands in a regular expression as an alternative. */
  several: boolean;
  all: boolean;
  allValue?: string;
}

const special = (text: string) => text.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&');
const quoted = (text: string) => `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'")}'`;

function written(value: Value, format: string | undefined): string {
  if (value.all && value.allValue !== undefined) {
    return value.allValue;
  }
  switch (format) {
    case 'raw':
    case 'text':
      return value.values.join(', ');
    case 'csv':
      return value.values.join(',');
    case 'pipe':
      return value.values.join('|');
    case 'singlequote':
      return value.values.map(quoted).join(',');
    case 'doublequote':
      return value.values.map((text) => `"${text}"`).join(',');
    default: {
      if (!value.several && format !== 'regex') {
        return value.values.join('');
      }
      const escaped = value.values.map(special);
      return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
    }
  }
}

export class Variables {
  readonly values: Record<string, Value> = {};

  /** The text with every `$name`, `${name}`, `${name:format}` and `[[name]]` that is known. */
  fillIn(text: string): string {
    return text.replace(
      /\$(\w+)|\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)(?::(\w+))?]]/g,
      (whole, plain, braced, format, bracketed, otherFormat) => {
        const value = this.values[plain ?? braced ?? bracketed];
        return value ? written(value, format ?? otherFormat) : whole;
      }
    );
  }

  /** As a title has it. */
  shown(text: string): string {
    return text.replace(/\$(\w+)|\$\{(\w+)(?::\w+)?\}/g, (whole, plain, braced) => {
      const value = this.values[plain ?? braced];
      return value ? (value.all ? 'All' : value.values.join(' + ')) : whole;
    });
  }

  /**
   * Read one after another, as each may need those before it.
   * @param chosen the values of some, in place of those that the dashboard opens with; `$__all` for all
   */
  static async read(variables: Variable[], chosen: Record<string, string[]>, range: string): Promise<Variables> {
    const all = new Variables();
    for (const variable of variables) {
      const choices = await all.choices(variable, range);
      const wanted = chosen[variable.name] ?? [variable.current?.value ?? []].flat();
      const isAll = wanted.length === 1 && wanted[0] === '$__all' && variable.includeAll === true;
      const fitting = isAll || variable.type === 'textbox' ? wanted : wanted.filter((value) => choices.includes(value));
      // Grafana takes the first where what was chosen is not there.
      const values = isAll ? choices : fitting.length ? fitting : choices.slice(0, 1);
      const several = Boolean(variable.multi || variable.includeAll);
      all.values[variable.name] = { values, several, all: isAll, allValue: variable.allValue || undefined };
    }
    return all;
  }

  private async choices(variable: Variable, range: string): Promise<string[]> {
    const query = typeof variable.query === 'string' ? variable.query : ((variable.query as any)?.query ?? '');
    if (variable.type !== 'query') {
      return query.split(',').map((text: string) => text.trim().replace(/^.* : /, ''));
    }
    const answer = await ask(this.fillIn(query).replace(/\$timeFilter\b/g, range), '', variable.name);
    const texts = answer.flatMap((series) => {
      const column = Math.max(series.columns.indexOf('value'), series.columns.length === 1 ? 0 : 1, 0);
      return series.values.map((row) => String(row[series.columns.includes('value') ? series.columns.indexOf('value') : column]));
    });
    const pattern = variable.regex ? new RegExp(variable.regex.replace(/^\/(.*)\/\w*$/, '$1')) : undefined;
    const kept = texts.flatMap((text) => {
      const match = pattern ? pattern.exec(text) : [text];
      return match ? [match[1] ?? match[0]] : [];
    });
    const unique = [...new Set(kept)];
    const numerically = variable.sort === 3 || variable.sort === 4;
    if (variable.sort) {
      unique.sort((a, b) => (numerically ? (parseInt(a.replace(/\D*/, ''), 10) || -1) - (parseInt(b.replace(/\D*/, ''), 10) || -1) : a.localeCompare(b)));
    }
    return variable.sort === 2 || variable.sort === 4 ? unique.reverse() : unique;
  }
}
