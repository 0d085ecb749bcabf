/** Text that is HTML already; everything else is escaped when it gets into a template. */
export class Markup {
  constructor(readonly text: string) {}
}

export type MarkupValue = Markup | string | number | undefined | readonly MarkupValue[]

/** A template whose values are escaped, but for those that are `Markup`; lists are joined, undefined is nothing. */
export function html(strings: TemplateStringsArray, ...values: readonly MarkupValue[]): Markup {
  return new Markup(strings.map((part, i) => part + textOf(values[i])).join(''))
}

/** A value as JSON for the content of a `<script type="application/json">`, which it can't end. */
export function jsonMarkup(value: unknown): Markup {
  return new Markup(JSON.stringify(value).replaceAll('<', '\\u003c'))
}

function textOf(value: MarkupValue): string {
  if (value === undefined) return ''
  if (value instanceof Markup) return value.text
  if (typeof value === 'string' || typeof value === 'number') return escapeText(String(value))
  return value.map(textOf).join('')
}

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escapeText(text: string): string {
  return text.replace(/[&<>"']/g, (character) => escapes[character] as string)
}
