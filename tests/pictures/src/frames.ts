// From the answers to what a panel draws: transformations and field configuration, by Grafana's own code.
import {
  DataFrame,
  FieldConfigOptionsRegistry,
  FieldConfigSource,
  FieldType,
  GrafanaTheme2,
  Registry,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  identityOverrideProcessor,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() =>
  // One of them stands there twice, under an old name.
  [...new Map(Object.values(standardTransformers).map((one: any) => [one.id, one])).values()].map((transformation: any) => ({
    id: transformation.id,
    name: transformation.name,
    description: transformation.description,
    transformation,
    editor: () => null,
    imageDark: '',
    imageLight: '',
  }))
);

/** What Grafana's panels take where the dashboard says nothing. */
const DEFAULTS: Record<string, { color: string; custom: Record<string, unknown> }> = {
  timeseries: {
    color: 'palette-classic',
    custom: {
      drawStyle: 'line',
      lineInterpolation: 'linear',
      lineWidth: 1,
      fillOpacity: 0,
      pointSize: 5,
      showPoints: 'auto',
      spanNulls: false,
      axisPlacement: 'auto',
      barAlignment: 0,
      gradientMode: 'none',
    },
  },
  table: { color: 'thresholds', custom: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false } },
  stat: { color: 'thresholds', custom: {} },
  'state-timeline': { color: 'thresholds', custom: { fillOpacity: 70, lineWidth: 0 } },
};

export async function transform(transformations: any[], frames: DataFrame[], fillIn: (text: string) => string) {
  for (const { id } of transformations) {
    if (!standardTransformersRegistry.getIfExists(id)) {
      throw new Error(`the transformation ${id} is not one of @grafana/data; it can't be drawn here`);
    }
  }
  return lastValueFrom(transformDataFrame(transformations, frames, { interpolate: fillIn }));
}

/** What the table's panel does with a dashboard that was written for an older one: the wrapping of a text was the cell's. */
function migrated(overrides: any[]): any[] {
  return overrides.map(({ matcher, properties }) => ({
    matcher,
    properties: properties.flatMap((property: any) =>
      property.id === 'custom.cellOptions' && property.value?.wrapText
        ? [property, { id: 'custom.wrapText', value: true }]
        : [property]
    ),
  }));
}

/** The configuration with the panel's defaults. */
export function completed(type: string, config: any): FieldConfigSource {
  const given = DEFAULTS[type] ?? { color: 'thresholds', custom: {} };
  const defaults = config?.defaults ?? {};
  const steps = [
    { color: 'green', value: -Infinity },
    { color: 'red', value: 80 },
  ];
  return {
    defaults: {
      color: { mode: given.color },
      thresholds: { mode: 'absolute', steps },
      ...structuredClone(defaults),
      custom: { ...given.custom, ...structuredClone(defaults.custom ?? {}) },
    },
    overrides: migrated(structuredClone(config?.overrides ?? [])),
  };
}

function registryOf(config: FieldConfigSource): FieldConfigOptionsRegistry {
  const ids = new Set(Object.keys(config.defaults).filter((key) => key !== 'custom'));
  Object.keys(config.defaults.custom ?? {}).forEach((key) => ids.add(`custom.${key}`));
  config.overrides.forEach((rule) => rule.properties.forEach(({ id }) => ids.add(id)));
  const items = [...ids].map((id) => ({
    id,
    path: id.replace(/^custom\./, ''),
    isCustom: id.startsWith('custom.'),
    name: id,
    process: identityOverrideProcessor,
    shouldApply: () => true,
    settings: {},
    override: () => null,
    editor: () => null,
  }));
  return new Registry(() => items as any) as FieldConfigOptionsRegistry;
}

export function configured(
  frames: DataFrame[],
  config: FieldConfigSource,
  theme: GrafanaTheme2,
  timeZone: string,
  fillIn: (text: string) => string
): DataFrame[] {
  const made = applyFieldOverrides({
    data: frames,
    fieldConfig: config,
    fieldConfigRegistry: registryOf(config),
    theme,
    timeZone,
    replaceVariables: (text) => fillIn(text),
  });
  cacheFieldDisplayNames(made);
  return made;
}

/** The frames that have a curve: booleans as 0 and 1. */
export function graphable(frames: DataFrame[]): DataFrame[] {
  return frames
    .filter((frame) => frame.fields.some((field) => field.type === FieldType.time))
    .map((frame) => ({
      ...frame,
      fields: frame.fields.map((field) =>
        field.type === FieldType.boolean
          ? { ...field, type: FieldType.number, values: field.values.map((value) => (value === null ? null : Number(value))) }
          : field
      ),
    }))
    .filter((frame) => frame.fields.some((field) => field.type === FieldType.number));
}
