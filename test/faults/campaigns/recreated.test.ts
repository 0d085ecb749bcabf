import { testShortCampaign } from '../short_campaign.js'
import { recreated } from './recreated.js'

testShortCampaign(recreated)
