import { createRequire } from 'node:module'

const manifest = createRequire(import.meta.url)('millrace/package.json') as { readonly version: string }

/** Version of this package. */
export const clientVersion = manifest.version
