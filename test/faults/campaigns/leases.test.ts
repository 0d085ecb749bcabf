import { testShortCampaign } from '../short_campaign.js'
import { leases } from './leases.js'

testShortCampaign(leases)
